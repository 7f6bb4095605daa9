/* The first of a vector's numbers, where there is no instruction for it. */

ES_PC_TARGET ES_PC_INLINE vector load_some(const void *numbers, uint32_t count)
{
    int32_t four[ES_PC_BLOCK / VECTORS] = {0};

    memcpy(four, numbers, count * sizeof *four);
    return load(four);
}

ES_PC_TARGET ES_PC_INLINE void store_some(void *numbers, vector given, uint32_t count)
{
    int32_t four[ES_PC_BLOCK / VECTORS];

    store(four, given);
    memcpy(numbers, four, count * sizeof *four);
}
