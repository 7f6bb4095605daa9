/* The kernels in C that compilers make vector instructions of: the body of a table. The file that
 * includes it defines ES_PC_TARGET, the attribute that allows these instructions. */

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
    int32_t number = (int32_t)(((uint32_t)accumulator << steps->shift) + (uint32_t)(steps->step[i] / 2));
    float quotient = ((float)number - (float)steps->low[i]) * steps->reciprocal[i];

    quotient = quotient < steps->most ? quotient : steps->most;
    quotient = quotient > 0.0f ? quotient : 0.0f;
    return (uint8_t)(int32_t)quotient;
}

/* The upper of two accumulators in a word gets its own value, not one less where the lower is negative. */
ES_PC_TARGET static void unpair(int16_t *restrict values, const uint32_t *restrict accumulators, uint32_t count)
{
    for (uint32_t i = 0; i < count / 2; i++) {
        uint32_t word = accumulators[i] + (accumulators[i] << 1 & 0x10000u);
        memcpy(values + 2 * i, &word, sizeof word);
    }
}

ES_PC_TARGET static void levels_16(const es_pc_steps *steps, const int16_t *restrict accumulators,
                                   uint8_t *restrict levels, uint32_t count)
{
    const es_pc_steps given = *steps;

    if (given.quick)
        for (uint32_t i = 0; i < count; i++)
            levels[i] = quick_level_of(&given, accumulators[i], i);
    else
        for (uint32_t i = 0; i < count; i++)
            levels[i] = level_of(&given, accumulators[i], i);
}

ES_PC_TARGET static void levels_32(const es_pc_steps *steps, const int32_t *restrict accumulators,
                                   uint8_t *restrict levels, uint32_t count)
{
    const es_pc_steps given = *steps;

    if (given.quick)
        for (uint32_t i = 0; i < count; i++)
            levels[i] = quick_level_of(&given, accumulators[i], i);
    else
        for (uint32_t i = 0; i < count; i++)
            levels[i] = level_of(&given, accumulators[i], i);
}

ES_PC_TARGET static void maximum(uint8_t *restrict maxima, const uint8_t *restrict values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        maxima[i] = values[i] > maxima[i] ? values[i] : maxima[i];
}

ES_PC_TARGET static es_pc_change differences(int16_t *restrict result, uint8_t *restrict told,
                                             const uint8_t *restrict now, uint32_t count)
{
    es_pc_change change = {0, 0, 0};
    int16_t least = 0;
    int16_t greatest = 0;

    for (uint32_t first = 0; first < count; first += 16384) {
        uint32_t end = count - first < 16384 ? count : first + 16384;
        uint16_t changed = 0;
        for (uint32_t i = first; i < end; i++) {
            int16_t difference = (int16_t)(now[i] - told[i]);
            result[i] = difference;
            told[i] = now[i];
            least = difference < least ? difference : least;
            greatest = difference > greatest ? difference : greatest;
            changed = (uint16_t)(changed + (difference != 0));
        }
        change.count += changed;
    }
    change.least = least;
    change.greatest = greatest;
    return change;
}

ES_PC_TARGET static uint32_t count_changed(const int16_t *differences_of, uint32_t count)
{
    uint32_t changed = 0;

    for (uint32_t i = 0; i < count; i++)
        changed += differences_of[i] != 0;
    return changed;
}

ES_PC_TARGET static void narrow(uint8_t *restrict bytes, const int16_t *restrict values, int32_t least,
                                int32_t base, uint32_t count)
{
    int16_t low = (int16_t)least;
    int16_t high = (int16_t)(least + 255);

    for (uint32_t i = 0; i < count; i++) {
        int16_t value = values[i] > high ? high : values[i];
        value = value < low ? low : value;
        bytes[i] = (uint8_t)(value - (int16_t)base);
    }
}

ES_PC_TARGET static void narrow_rest(uint8_t *restrict bytes, const int16_t *restrict values, int32_t base,
                                     uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int16_t value = values[i] > 127 ? 127 : values[i];
        value = value < -128 ? -128 : value;
        bytes[i] = (uint8_t)(values[i] - value - (int16_t)base);
    }
}

#if defined(__GNUC__)
typedef int16_t shorts __attribute__((vector_size(ES_PC_BLOCK * sizeof(int16_t))));
typedef int32_t words __attribute__((vector_size(ES_PC_BLOCK * sizeof(int32_t))));

/* ES_PC_BLOCK sums, which stay in registers. */
ES_PC_TARGET ES_PC_INLINE void window_block(int32_t *sums, const int16_t *values, const uint32_t *runs,
                                            uint32_t run_count, const int16_t *weights, uint32_t step)
{
    words sum = {0};

    for (uint32_t run = 0; run < run_count; run++) {
        shorts value, weight;
        memcpy(&value, values + runs[run], sizeof value);
        memcpy(&weight, weights + (size_t)run * step, sizeof weight);
        sum += __builtin_convertvector(value, words) * __builtin_convertvector(weight, words);
    }
    memcpy(sums, &sum, sizeof sum);
}
#endif

ES_PC_TARGET static void windows(int32_t *sums, const int16_t *values, const uint32_t *runs, uint32_t run_count,
                                 const int16_t *weights, uint32_t step, uint32_t count)
{
    uint32_t first = 0;

#if defined(__GNUC__)
    for (; first + ES_PC_BLOCK <= count; first += ES_PC_BLOCK)
        window_block(sums + first, values + first, runs, run_count, weights + first, step);
#endif
    for (; first < count; first++) {
        int32_t sum = 0;
        for (uint32_t run = 0; run < run_count; run++)
            sum += values[runs[run] + first] * weights[(size_t)run * step + first];
        sums[first] = sum;
    }
}

ES_PC_TARGET static void add_16(uint32_t *restrict accumulators, const int32_t *restrict sums,
                                const int32_t *restrict totals, int32_t base, uint32_t count)
{
    for (uint32_t i = 0; i < count / 2; i++) {
        uint32_t low = (uint32_t)sums[2 * i] + (uint32_t)base * (uint32_t)totals[2 * i];
        uint32_t high = (uint32_t)sums[2 * i + 1] + (uint32_t)base * (uint32_t)totals[2 * i + 1];
        accumulators[i] += low + (high << 16);
    }
}

ES_PC_TARGET static void add_32(uint32_t *restrict accumulators, const int32_t *restrict sums,
                                const int32_t *restrict totals, int32_t base, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        accumulators[i] += (uint32_t)sums[i] + (uint32_t)base * (uint32_t)totals[i];
}

/* ---- dot products ------------------------------------------------------- */

/* The file that includes this defines `vector` (VECTORS of them hold ES_PC_BLOCK sums of 32 bits), and
 * broadcast, load, multiply_add_groups and store. */

enum { MOST_PIXELS = 8, MOST_BLOCKS = 4 };

/* A tile of target pixels and channels, small enough for its sums to stay in registers. */
ES_PC_TARGET ES_PC_INLINE void dot_tile(const es_pc_dot *dot, const uint8_t *source, const uint8_t *weights,
                                        int32_t *sums, uint32_t pixels, uint32_t blocks)
{
    vector sum[MOST_PIXELS][MOST_BLOCKS * VECTORS];

    for (uint32_t p = 0; p < pixels; p++)
        for (uint32_t v = 0; v < blocks * VECTORS; v++)
            sum[p][v] = zero();
    for (uint32_t run = 0; run < dot->run_count; run++) {
        const uint8_t *from = source + dot->runs[run];
        for (uint32_t group = 0; group < dot->groups; group++) {
            vector given[MOST_PIXELS];
            for (uint32_t p = 0; p < pixels; p++)
                given[p] = broadcast(from + (size_t)p * dot->pixel_step);
            for (uint32_t v = 0; v < blocks * VECTORS; v++) {
                vector weight = load(weights + (size_t)v * (ES_PC_BLOCK * 4 / VECTORS));
                for (uint32_t p = 0; p < pixels; p++)
                    sum[p][v] = multiply_add_groups(sum[p][v], given[p], weight);
            }
            from += 4;
            weights += (size_t)dot->blocks * (ES_PC_BLOCK * 4);
        }
    }
    for (uint32_t p = 0; p < pixels; p++)
        for (uint32_t v = 0; v < blocks * VECTORS; v++)
            store(sums + (size_t)p * dot->blocks * ES_PC_BLOCK + v * (ES_PC_BLOCK / VECTORS), sum[p][v]);
}

/* Tiles of one width along a row. */
ES_PC_TARGET ES_PC_INLINE uint32_t dot_tiles(const es_pc_dot *dot, int32_t *sums, uint32_t block, uint32_t pixel,
                                             uint32_t pixels, uint32_t blocks)
{
    for (; pixel + pixels <= dot->pixels; pixel += pixels)
        dot_tile(dot, dot->source + (size_t)pixel * dot->pixel_step, dot->weights + (size_t)block * (ES_PC_BLOCK * 4),
                 sums + ((size_t)pixel * dot->blocks + block) * ES_PC_BLOCK, pixels, blocks);
    return pixel;
}

ES_PC_TARGET static void dot(const es_pc_dot *row, int32_t *sums)
{
    uint32_t block = 0;
    uint32_t pixel;

    for (; block + WIDE_BLOCKS <= row->blocks; block += WIDE_BLOCKS) {
        pixel = dot_tiles(row, sums, block, 0, WIDE_PIXELS, WIDE_BLOCKS);
        dot_tiles(row, sums, block, pixel, 1, WIDE_BLOCKS);
    }
    for (; block < row->blocks; block++) {
        pixel = dot_tiles(row, sums, block, 0, NARROW_PIXELS, 1);
        dot_tiles(row, sums, block, pixel, 1, 1);
    }
}

const es_pc_kernels ES_PC_TABLE = {
    ES_PC_NAME, is_available, GROUP, LOWEST, DENSE_NANOSECONDS, dot, unpair, levels_16, levels_32, maximum,
    differences, count_changed, narrow, narrow_rest, windows, add_16, add_32,
};
