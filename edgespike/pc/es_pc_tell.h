/* What accumulators tell, for tables that have nothing better: loops that compilers make vector
 * instructions of. Included like es_pc_kernels.h, after it. */

enum { PIECE = 128 }; /* neurons at a time */

ES_PC_TARGET static inline uint8_t level_of(const es_pc_steps *steps, int32_t accumulator, uint32_t i)
{
    int32_t step = steps->step[i];
    int32_t number = (int32_t)(((uint32_t)accumulator << steps->shift) + (uint32_t)(step / 2));
    int32_t level;

    number = number < steps->low[i] ? steps->low[i] : number;
    number = number > steps->high[i] ? steps->high[i] : number;
    number -= steps->low[i];
    /* The quotient by the reciprocal may be one off in either direction; the remainder tells. */
    level = (int32_t)((float)number * steps->reciprocal[i]);
    number -= level * step;
    level += number >= step;
    level -= number < 0;
    return (uint8_t)level;
}

/* The same where the quotient by the reciprocal is never off (es_pc_steps). */
ES_PC_TARGET static inline uint8_t quick_level_of(const es_pc_steps *steps, int32_t accumulator, uint32_t i)
{
    float number = (float)(int32_t)((uint32_t)accumulator << steps->shift) + steps->offset[i];
    float quotient = number * steps->reciprocal[i];

    quotient = quotient < steps->most ? quotient : steps->most;
    quotient = quotient > 0.0f ? quotient : 0.0f;
    return (uint8_t)(int32_t)quotient;
}

ES_PC_TARGET static void levels_of_words(const es_pc_steps *steps, const uint32_t *restrict accumulators,
                                         uint8_t *restrict levels, uint32_t first, uint32_t count)
{
    const es_pc_steps given = *steps;

    if (given.quick)
        for (uint32_t i = 0; i < count; i++)
            levels[i] = quick_level_of(&given, (int32_t)accumulators[i], first + i);
    else
        for (uint32_t i = 0; i < count; i++)
            levels[i] = level_of(&given, (int32_t)accumulators[i], first + i);
}

ES_PC_TARGET static void levels_of_shorts(const es_pc_steps *steps, const int16_t *restrict accumulators,
                                          uint8_t *restrict levels, uint32_t first, uint32_t count)
{
    const es_pc_steps given = *steps;

    if (given.quick)
        for (uint32_t i = 0; i < count; i++)
            levels[i] = quick_level_of(&given, accumulators[i], first + i);
    else
        for (uint32_t i = 0; i < count; i++)
            levels[i] = level_of(&given, accumulators[i], first + i);
}

/* The upper of two accumulators in a word gets its own value, not one less where the lower is negative. */
ES_PC_TARGET static void unpair(int16_t *restrict values, const uint32_t *restrict accumulators, uint32_t count)
{
    for (uint32_t i = 0; i < count / 2; i++) {
        uint32_t word = accumulators[i] + (accumulators[i] << 1 & 0x10000u);
        memcpy(values + 2 * i, &word, sizeof word);
    }
}

static void include(es_pc_change *all, es_pc_change change)
{
    all->count += change.count;
    all->least = change.least < all->least ? change.least : all->least;
    all->greatest = change.greatest > all->greatest ? change.greatest : all->greatest;
}

static es_pc_change tell_32(const es_pc_steps *steps, const uint32_t *accumulators, uint8_t *told,
                            int16_t *changes, uint32_t count)
{
    es_pc_change all = {0, 0, 0};
    uint8_t levels[PIECE];

    for (uint32_t first = 0; first < count; first += PIECE) {
        uint32_t piece = count - first < PIECE ? count - first : PIECE;
        levels_of_words(steps, accumulators + first, levels, first, piece);
        include(&all, differences(changes + first, told + first, levels, piece));
    }
    return all;
}

static es_pc_change tell_16(const es_pc_steps *steps, const uint32_t *accumulators, uint8_t *told,
                            int16_t *changes, uint32_t count)
{
    es_pc_change all = {0, 0, 0};
    int16_t values[PIECE];
    uint8_t levels[PIECE];

    for (uint32_t first = 0; first < count; first += PIECE) {
        uint32_t piece = count - first < PIECE ? count - first : PIECE;
        unpair(values, accumulators + first / 2, piece);
        levels_of_shorts(steps, values, levels, first, piece);
        include(&all, differences(changes + first, told + first, levels, piece));
    }
    return all;
}
