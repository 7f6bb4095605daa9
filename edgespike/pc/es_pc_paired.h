/* The first sums to accumulators of 16 bits, where there is no instruction for it: `count` is even. */

ES_PC_TARGET ES_PC_INLINE void add_paired(uint32_t *words, vector sums, uint32_t count)
{
    uint32_t lanes[ES_PC_BLOCK / VECTORS];

    if (count == ES_PC_BLOCK / VECTORS) {
        add_all_paired(words, sums);
        return;
    }
    store(lanes, sums);
    for (uint32_t i = 0; i < count / 2; i++)
        words[i] += lanes[2 * i] + (lanes[2 * i + 1] << 16);
}
