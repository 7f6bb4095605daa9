/* The kernels in C that compilers make vector instructions of: the body of a table. The file that
 * includes it defines ES_PC_TARGET, the attribute that allows these instructions, `vector` (VECTORS of
 * them hold ES_PC_BLOCK numbers of 32 bits), and what is done with one: load, store, load_some and
 * store_some (only the first numbers), zero, broadcast, add, add_paired (to accumulators of 16 bits),
 * interleave_low and interleave_high (shorts, whose sums untangle puts in order), multiply_add_groups
 * (4 bytes of differences and of weights, as `group` says) and multiply_add_pairs (shorts). */

enum { LANES = ES_PC_BLOCK / VECTORS };

/* ---- element by element --------------------------------------------------- */

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

ES_PC_TARGET static void maximum(uint8_t *restrict maxima, const uint8_t *restrict values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        maxima[i] = values[i] > maxima[i] ? values[i] : maxima[i];
}

ES_PC_TARGET static uint64_t reach(const int16_t *restrict given, const uint16_t *restrict reached, uint32_t count)
{
    uint64_t sum = 0;

    for (uint32_t first = 0; first < count; first += 32768) {
        uint32_t end = count - first < 32768 ? count : first + 32768;
        uint32_t piece = 0;
        for (uint32_t i = first; i < end; i++)
            piece += given[i] != 0 ? reached[i] : 0u;
        sum += piece;
    }
    return sum;
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

#ifndef ES_PC_OWN_TELL
#include "es_pc_tell.h"
#endif

/* ---- accumulators --------------------------------------------------------- */

/* Where an accumulator is; those of 16 bits lie two in a word. */
ES_PC_INLINE uint32_t *at(uint32_t *accumulators, size_t neuron, bool paired)
{
    return accumulators + (paired ? neuron / 2 : neuron);
}

/* The first `count` of a vector's sums to the accumulators of neurons that lie together. */
ES_PC_TARGET ES_PC_INLINE void add_sums(uint32_t *accumulators, vector sums, uint32_t count, bool paired)
{
    if (paired)
        add_paired(accumulators, sums, count);
    else if (count == LANES)
        store(accumulators, add(load(accumulators), sums));
    else
        store_some(accumulators, add(load_some(accumulators, count), sums), count);
}

/* ---- windows -------------------------------------------------------------- */

#if defined(__GNUC__)
typedef uint8_t bytes __attribute__((vector_size(ES_PC_BLOCK)));

ES_PC_TARGET ES_PC_INLINE void pool_block(uint8_t *maxima, const uint8_t *values, uint32_t columns,
                                          uint32_t column_step)
{
    bytes greatest, value;

    memcpy(&greatest, values, sizeof greatest);
    for (uint32_t column = 1; column < columns; column++) {
        bytes below;
        memcpy(&value, values + (size_t)column * column_step, sizeof value);
        below = (bytes)(greatest < value);
        greatest = (value & below) | (greatest & ~below);
    }
    memcpy(maxima, &greatest, sizeof greatest);
}
#endif

enum { SHORTS = 2 * LANES }; /* in a vector */

ES_PC_TARGET ES_PC_INLINE vector load_shorts(const int16_t *shorts, uint32_t count)
{
    return count == SHORTS ? load(shorts) : load_some(shorts, count / 2);
}

/* An even number of channels, SHORTS at most; the sums stay in registers, two runs of the window in each step. */
ES_PC_TARGET ES_PC_INLINE void window_block(uint32_t *accumulators, const es_pc_windows *given, const int16_t *source,
                                            const int16_t *weights, uint32_t count, bool paired)
{
    vector low = zero(), high = zero();

    for (uint32_t run = 0; run < given->run_count; run += 2) {
        const int16_t *weight = weights + (size_t)run * given->weight_step;
        bool two = run + 1 < given->run_count;
        vector values = load_shorts(source + given->runs[run], count);
        vector values_2 = two ? load_shorts(source + given->runs[run + 1], count) : zero();
        vector weights_1 = load_shorts(weight, count);
        vector weights_2 = two ? load_shorts(weight + given->weight_step, count) : zero();
        low = multiply_add_pairs(low, interleave_low(values, values_2), interleave_low(weights_1, weights_2));
        high = multiply_add_pairs(high, interleave_high(values, values_2), interleave_high(weights_1, weights_2));
    }
    untangle(&low, &high);
    add_sums(accumulators, low, count < LANES ? count : LANES, paired);
    if (count > LANES)
        add_sums(at(accumulators, LANES, paired), high, count - LANES, paired);
}

ES_PC_TARGET ES_PC_INLINE void windows_by(const es_pc_windows *given, uint32_t *accumulators, bool paired)
{
    const es_pc_windows here = *given;
    const int16_t *source = here.source;

    for (uint32_t pixel = 0; pixel < here.pixels; pixel++) {
        uint32_t i = 0;
        for (; i + SHORTS <= here.channels; i += SHORTS)
            window_block(at(accumulators, i, paired), &here, source + i, here.weights + i, SHORTS, paired);
        if (i + 1 < here.channels)
            window_block(at(accumulators, i, paired), &here, source + i, here.weights + i, (here.channels - i) & ~1u,
                         paired);
        for (i = here.channels & ~1u; i < here.channels; i++)
            for (uint32_t run = 0; run < here.run_count; run++)
                accumulators[i] +=
                    (uint32_t)(source[here.runs[run] + i] * here.weights[(size_t)run * here.weight_step + i]);
        accumulators = at(accumulators, here.channels, paired);
        source += here.pixel_step;
    }
}

ES_PC_TARGET static void windows(const es_pc_windows *given, uint32_t *accumulators)
{
    if (given->paired)
        windows_by(given, accumulators, true);
    else
        windows_by(given, accumulators, false);
}

ES_PC_TARGET static void pool(uint8_t *maxima, const uint8_t *values, uint32_t columns, uint32_t column_step,
                              uint32_t pixels, uint32_t pixel_step, uint32_t channels)
{
    for (uint32_t pixel = 0; pixel < pixels; pixel++) {
        uint32_t i = 0;
#if defined(__GNUC__)
        for (; i + ES_PC_BLOCK <= channels; i += ES_PC_BLOCK)
            pool_block(maxima + i, values + i, columns, column_step);
#endif
        for (; i < channels; i++) {
            maxima[i] = values[i];
            for (uint32_t column = 1; column < columns; column++) {
                uint8_t value = values[(size_t)column * column_step + i];
                maxima[i] = value > maxima[i] ? value : maxima[i];
            }
        }
        maxima += channels;
        values += pixel_step;
    }
}

/* ---- events ----------------------------------------------------------------- */

enum { MOST_BLOCKS = 4 };

/* Sums of all terms stay in registers. The last of the vectors has `last` lanes. */
ES_PC_TARGET ES_PC_INLINE void scatter_tile(uint32_t *accumulators, const int16_t *weights, const es_pc_term *terms,
                                            uint32_t term_count, uint32_t vectors, uint32_t last, bool paired)
{
    vector sum[MOST_BLOCKS * VECTORS];

    for (uint32_t v = 0; v < vectors; v++)
        sum[v] = zero();
    for (uint32_t term = 0; term < term_count; term++) {
        const int16_t *from = weights + 2 * (size_t)terms[term].vector;
        vector pair = broadcast(&terms[term].pair);
        for (uint32_t v = 0; v < vectors; v++)
            sum[v] = multiply_add_pairs(sum[v], pair, load(from + 2 * v * LANES));
    }
    for (uint32_t v = 0; v < vectors; v++)
        add_sums(at(accumulators, v * LANES, paired), sum[v], v + 1 < vectors ? LANES : last, paired);
}

ES_PC_TARGET ES_PC_INLINE void scatter_by(uint32_t *accumulators, const int16_t *weights, const es_pc_term *terms,
                                          uint32_t term_count, uint32_t count, bool paired)
{
    uint32_t i = 0;

    for (; i + MOST_BLOCKS * ES_PC_BLOCK <= count; i += MOST_BLOCKS * ES_PC_BLOCK)
        scatter_tile(at(accumulators, i, paired), weights + 2 * i, terms, term_count, MOST_BLOCKS * VECTORS, LANES,
                     paired);
    for (; i + ES_PC_BLOCK <= count; i += ES_PC_BLOCK)
        scatter_tile(at(accumulators, i, paired), weights + 2 * i, terms, term_count, VECTORS, LANES, paired);
    for (; i + LANES <= count; i += LANES)
        scatter_tile(at(accumulators, i, paired), weights + 2 * i, terms, term_count, 1, LANES, paired);
    if (i < count)
        scatter_tile(at(accumulators, i, paired), weights + 2 * i, terms, term_count, 1, count - i, paired);
}

ES_PC_TARGET static void scatter_terms(uint32_t *accumulators, const int16_t *weights, const es_pc_term *terms,
                                       uint32_t term_count, uint32_t count, bool paired)
{
    if (paired)
        scatter_by(accumulators, weights, terms, term_count, count, true);
    else
        scatter_by(accumulators, weights, terms, term_count, count, false);
}

/* ---- dot products ------------------------------------------------------- */

enum { MOST_PIXELS = 8 };

/* A tile of target pixels and channels, small enough for its sums to stay in registers. `whole`: all of
 * its sums are channels of the target; else it is of one block. */
ES_PC_TARGET ES_PC_INLINE void dot_tile(const es_pc_dot *dot, uint32_t *accumulators, uint32_t block, uint32_t pixel,
                                        uint32_t pixels, uint32_t blocks, bool whole, bool paired)
{
    const uint8_t *source = dot->source + (size_t)pixel * dot->pixel_step;
    const uint8_t *weights = dot->weights + (size_t)block * (ES_PC_BLOCK * 4);
    vector sum[MOST_PIXELS][MOST_BLOCKS * VECTORS];

    for (uint32_t v = 0; v < blocks * VECTORS; v++) {
        vector bias = load(dot->bias + (size_t)block * ES_PC_BLOCK + v * LANES);
        for (uint32_t p = 0; p < pixels; p++)
            sum[p][v] = bias;
    }
    for (uint32_t run = 0; run < dot->run_count; run++) {
        const uint8_t *from = source + dot->runs[run];
        for (uint32_t group = 0; group < dot->groups; group++) {
            vector given[MOST_PIXELS];
            for (uint32_t p = 0; p < pixels; p++)
                given[p] = broadcast(from + (size_t)p * dot->pixel_step);
            for (uint32_t v = 0; v < blocks * VECTORS; v++) {
                vector weight = load(weights + (size_t)v * (4 * LANES));
                for (uint32_t p = 0; p < pixels; p++)
                    sum[p][v] = multiply_add_groups(sum[p][v], given[p], weight);
            }
            from += 4;
            weights += (size_t)dot->blocks * (ES_PC_BLOCK * 4);
        }
    }
    for (uint32_t p = 0; p < pixels; p++) {
        size_t neuron = (size_t)(pixel + p) * dot->channels + block * ES_PC_BLOCK;
        uint32_t left = dot->channels - block * ES_PC_BLOCK;
        for (uint32_t v = 0; v < blocks * VECTORS; v++, neuron += LANES) {
            if (whole || left >= LANES)
                add_sums(at(accumulators, neuron, paired), sum[p][v], LANES, paired);
            else if (left > 0)
                add_sums(at(accumulators, neuron, paired), sum[p][v], left, paired);
            left -= left < LANES ? left : LANES;
        }
    }
}

/* Tiles of one width along a row. */
ES_PC_TARGET ES_PC_INLINE uint32_t dot_tiles(const es_pc_dot *dot, uint32_t *accumulators, uint32_t block,
                                             uint32_t pixel, uint32_t pixels, uint32_t blocks, bool whole, bool paired)
{
    for (; pixel + pixels <= dot->pixels; pixel += pixels)
        dot_tile(dot, accumulators, block, pixel, pixels, blocks, whole, paired);
    return pixel;
}

ES_PC_TARGET ES_PC_INLINE void dot_by(const es_pc_dot *given, uint32_t *accumulators, bool paired)
{
    const es_pc_dot here = *given;
    uint32_t whole = here.channels / ES_PC_BLOCK;
    uint32_t block = 0;
    uint32_t pixel;

    for (; here.pixels == 1 && block + MOST_BLOCKS <= whole; block += MOST_BLOCKS)
        dot_tile(&here, accumulators, block, 0, 1, MOST_BLOCKS, true, paired);
    for (; block + WIDE_BLOCKS <= whole; block += WIDE_BLOCKS) {
        pixel = dot_tiles(&here, accumulators, block, 0, WIDE_PIXELS, WIDE_BLOCKS, true, paired);
        pixel = dot_tiles(&here, accumulators, block, pixel, FEW_PIXELS, WIDE_BLOCKS, true, paired);
        dot_tiles(&here, accumulators, block, pixel, 1, WIDE_BLOCKS, true, paired);
    }
    for (; block < whole; block++) {
        pixel = dot_tiles(&here, accumulators, block, 0, NARROW_PIXELS, 1, true, paired);
        pixel = dot_tiles(&here, accumulators, block, pixel, FEW_PIXELS, 1, true, paired);
        dot_tiles(&here, accumulators, block, pixel, 1, 1, true, paired);
    }
    if (block < here.blocks) {
        pixel = dot_tiles(&here, accumulators, block, 0, NARROW_PIXELS, 1, false, paired);
        dot_tiles(&here, accumulators, block, pixel, 1, 1, false, paired);
    }
}

ES_PC_TARGET static void dot(const es_pc_dot *given, uint32_t *accumulators)
{
    if (given->paired)
        dot_by(given, accumulators, true);
    else
        dot_by(given, accumulators, false);
}

const es_pc_kernels ES_PC_TABLE = {
    ES_PC_NAME, is_available, GROUP, LOWEST, DENSE_NANOSECONDS, SCATTER_NANOSECONDS, dot, windows, scatter_terms,
    tell_16, tell_32, differences, maximum, pool, reach, narrow, narrow_rest,
};
