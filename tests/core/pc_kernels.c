/* Every table of kernels that this processor has, against the definitions in es_pc.h: all lengths up to
 * LONGEST, all misalignments, and accumulators around every level's limits. Prints the tables' names. */
#include <stdio.h>
#include <stdlib.h>

#include "es_pc.h"

enum { LONGEST = 150, ROOM = 512 };

static uint32_t state = 12345;

static int32_t draw(int32_t low, int32_t high)
{
    state = state * 1664525u + 1013904223u;
    return low + (int32_t)((state >> 8) % (uint32_t)(high - low + 1));
}

static void expect(bool holds, const es_pc_kernels *kernels, const char *what)
{
    if (holds)
        return;
    printf("%s: %s differs\n", kernels->name, what);
    exit(1);
}

/* The stored level of an accumulator, as docs/architecture.md has it. */
static uint8_t level_at(int32_t accumulator, uint32_t shift, int32_t step, int32_t least, int32_t greatest)
{
    int64_t number = (int64_t)accumulator * (1 << shift) + step / 2;
    int64_t level = number / step - (number % step < 0);

    level = level < least ? least : level > greatest ? greatest : level;
    return (uint8_t)(level - least);
}

/* ---- levels ------------------------------------------------------------- */

static float next_above(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    bits++;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

/* What es_pc_steps proves, tried for every step: the least and the greatest number of every level. */
static void check_quotients(int32_t most)
{
    for (int32_t step = 1; step * (most + 1) <= 1 << 21; step++) {
        float reciprocal = next_above(1.0f / (float)step);
        for (int32_t level = 0; level <= most; level++) {
            int32_t number = level * step;
            if ((int32_t)((float)number * reciprocal) != level ||
                (int32_t)((float)(number + step - 1) * reciprocal) != level) {
                printf("%d / %d is not %d\n", (int)number, (int)step, (int)level);
                exit(1);
            }
        }
    }
}

static void check_levels(const es_pc_kernels *kernels, int32_t least, int32_t greatest, uint32_t shift, bool quick)
{
    int32_t step[ROOM], low[ROOM], high[ROOM], accumulators[ROOM];
    uint32_t words[ROOM], pairs[ROOM / 2];
    int16_t changes[2][ROOM];
    float reciprocal[ROOM], offset[ROOM];
    uint8_t told[ROOM], levels[2][ROOM];
    es_pc_steps steps = {reciprocal, offset, step, low, high, (float)(greatest - least), shift, quick};
    int32_t most = quick ? (1 << 21) / (greatest - least + 1 + (least < 0 ? -least : least)) : (1 << 30) / 260;

    for (uint32_t count = 0; count <= LONGEST; count++) {
        es_pc_change change[2];
        for (uint32_t i = 0; i < ROOM; i++) {
            int32_t size = draw(0, 21);
            step[i] = size == 21 ? most - draw(0, 3) : draw(1, 1 << size);
            step[i] = step[i] > most ? most : step[i];
            low[i] = least * step[i];
            high[i] = (greatest + 1) * step[i] - 1;
            offset[i] = (float)(step[i] / 2 - low[i]);
            reciprocal[i] = quick ? next_above(1.0f / (float)step[i]) : 1.0f / (float)step[i];
            accumulators[i] = ((draw(least - 2, greatest + 2) * step[i] - step[i] / 2) >> shift) + draw(-2, 2);
            if (draw(0, 20) == 0)
                accumulators[i] = draw(0, 1) ? INT32_MAX >> (shift + 1) : -(INT32_MAX >> (shift + 1));
            words[i] = (uint32_t)accumulators[i];
            told[i] = draw(0, 1) ? 0 : (uint8_t)draw(0, 255);
            changes[0][i] = changes[1][i] = 9999;
        }
        for (uint32_t i = 0; i < ROOM / 2; i++)
            pairs[i] = (uint32_t)(int16_t)accumulators[2 * i] + ((uint32_t)accumulators[2 * i + 1] << 16);
        memcpy(levels[0], told, sizeof told);
        memcpy(levels[1], told, sizeof told);
        change[0] = kernels->tell_32(&steps, words, levels[0], changes[0], count);
        change[1] = kernels->tell_16(&steps, pairs, levels[1], changes[1], count / 2 * 2);
        for (int way = 0; way < 2; way++)
            for (uint32_t i = 0; i < ROOM; i++) {
                bool inside = i < (way ? count / 2 * 2 : count);
                int32_t accumulator = way ? (int16_t)accumulators[i] : accumulators[i];
                uint8_t level = level_at(accumulator, shift, step[i], least, greatest);
                int32_t difference = level - told[i];
                expect(levels[way][i] == (inside ? level : told[i]), kernels, way ? "tell_16" : "tell_32");
                expect(changes[way][i] == (inside ? difference : 9999), kernels, "difference");
                if (!inside)
                    continue;
                expect(change[way].least <= difference && change[way].greatest >= difference, kernels, "range");
                change[way].count -= difference != 0;
            }
        for (int way = 0; way < 2; way++)
            expect(change[way].count == 0 && change[way].least <= 0 && change[way].greatest >= 0, kernels, "count");
    }
}

/* ---- element by element --------------------------------------------------- */

static void check_bytes(const es_pc_kernels *kernels)
{
    uint8_t bytes[ROOM], now[ROOM], told[ROOM], kept[ROOM];
    int16_t values[ROOM], changes[ROOM];
    uint16_t reached[ROOM];

    for (uint32_t count = 0; count <= LONGEST; count++) {
        uint32_t off = count % 7;
        int32_t least = draw(-255, 0), base = least - kernels->lowest;
        es_pc_change change;
        uint64_t sum = 0;
        for (uint32_t i = 0; i < ROOM; i++) {
            bytes[i] = kept[i] = (uint8_t)draw(0, 255);
            now[i] = (uint8_t)draw(0, 255);
            told[i] = draw(0, 2) ? now[i] : (uint8_t)draw(0, 255);
            values[i] = (int16_t)(draw(0, 1) ? draw(-255, 255) : 0);
            reached[i] = (uint16_t)draw(0, 65535);
        }
        kernels->maximum(bytes + off, now + off, count);
        for (uint32_t i = 0; i < ROOM; i++) {
            bool inside = i >= off && i < off + count;
            expect(bytes[i] == (inside && now[i] > kept[i] ? now[i] : kept[i]), kernels, "maximum");
        }
        kernels->narrow(bytes + off, values + off, least, base, count);
        for (uint32_t i = off; i < off + count; i++) {
            int32_t value = values[i] < least ? least : values[i] > least + 255 ? least + 255 : values[i];
            expect(bytes[i] == (uint8_t)(value - base), kernels, "narrow");
        }
        base = -127 - kernels->lowest;
        kernels->narrow_rest(bytes + off, values + off, base, count);
        for (uint32_t i = off; i < off + count; i++) {
            int32_t rest = values[i] > 127 ? values[i] - 127 : values[i] < -128 ? values[i] + 128 : 0;
            expect(bytes[i] == (uint8_t)(rest - base), kernels, "narrow_rest");
        }
        for (uint32_t i = off; i < off + count; i++)
            sum += values[i] != 0 ? reached[i] : 0u;
        expect(kernels->reach(values + off, reached + off, count) == sum, kernels, "reach");
        memcpy(kept, told, sizeof kept);
        change = kernels->differences(changes + off, told + off, now + off, count);
        for (uint32_t i = off; i < off + count; i++) {
            int32_t difference = now[i] - kept[i];
            expect(changes[i] == difference && told[i] == now[i], kernels, "differences");
            expect(change.least <= difference && change.greatest >= difference, kernels, "range");
            change.count -= difference != 0;
        }
        expect(change.count == 0 && change.least <= 0 && change.greatest >= 0, kernels, "count of differences");
    }
}

static void check_pool(const es_pc_kernels *kernels)
{
    uint8_t values[4 * ROOM], maxima[4 * ROOM];

    for (uint32_t channels = 1; channels < 40; channels++) {
        uint32_t columns = channels % 4 + 1, column_step = channels * (channels % 3 + 1);
        uint32_t pixels = channels % 5 + 1, pixel_step = channels * (channels % 2 + 1);
        for (uint32_t i = 0; i < 4 * ROOM; i++)
            values[i] = (uint8_t)draw(0, 255);
        memset(maxima, 7, sizeof maxima);
        kernels->pool(maxima, values, columns, column_step, pixels, pixel_step, channels);
        for (uint32_t i = 0; i < 4 * ROOM; i++) {
            uint8_t greatest = i < pixels * channels ? 0 : 7;
            for (uint32_t column = 0; column < columns && i < pixels * channels; column++) {
                uint8_t value = values[i / channels * pixel_step + column * column_step + i % channels];
                greatest = value > greatest ? value : greatest;
            }
            expect(maxima[i] == greatest, kernels, "pool");
        }
    }
}

/* ---- sums ------------------------------------------------------------------- */

/* An accumulator of 4 bytes, or two of 2 bytes, after `sum` was added to neuron i of `off` and on. */
static uint32_t added(const uint32_t *before, const uint32_t *sums, uint32_t i, uint32_t off, uint32_t count,
                      bool paired)
{
    uint32_t first = off + (paired ? 2 * (i - off) : i - off);

    if (i < off || first - off >= count)
        return before[i];
    return before[i] + sums[first - off] + (paired ? sums[first - off + 1] << 16 : 0);
}

static void check_windows(const es_pc_kernels *kernels, bool paired)
{
    int16_t values[2 * ROOM], weights[2 * ROOM];
    uint32_t accumulators[ROOM], before[ROOM], sums[ROOM];

    for (uint32_t count = 0; count <= LONGEST; count++) {
        const uint32_t runs[] = {0, 7, 3, 190, 64};
        uint32_t pixels = count % 3 + 1, off = count % 7, channels = count / pixels / 2 * 2 + !paired;
        es_pc_windows given = {values, weights, runs, count % 5, 3, channels, pixels, count % 11, paired};
        for (uint32_t i = 0; i < 2 * ROOM; i++) {
            values[i] = (int16_t)(draw(0, 1) ? draw(-255, 255) : 0);
            weights[i] = (int16_t)draw(-32768, 32767);
        }
        for (uint32_t i = 0; i < ROOM; i++)
            accumulators[i] = before[i] = (uint32_t)draw(0, 1 << 23) * 513u;
        for (uint32_t i = 0; i < pixels * channels; i++) {
            sums[i] = 0;
            for (uint32_t run = 0; run < given.run_count; run++)
                sums[i] += (uint32_t)(values[i / channels * given.pixel_step + runs[run] + i % channels] *
                                      weights[3 * run + i % channels]);
        }
        kernels->windows(&given, accumulators + off);
        for (uint32_t i = 0; i < ROOM; i++)
            expect(accumulators[i] == added(before, sums, i, off, pixels * channels, paired), kernels, "windows");
    }
}

static void check_scatter(const es_pc_kernels *kernels, bool paired)
{
    int16_t weights[4 * ROOM], pair[2];
    uint32_t accumulators[ROOM], before[ROOM], sums[ROOM];

    for (uint32_t step = 0; step <= LONGEST; step++) {
        uint32_t term_count = step % 6, off = step % 7, count = paired ? step / 2 * 2 : step;
        es_pc_term terms[6];
        for (uint32_t i = 0; i < 4 * ROOM; i++)
            weights[i] = (int16_t)draw(-128, 127);
        for (uint32_t i = 0; i < ROOM; i++)
            accumulators[i] = before[i] = (uint32_t)draw(0, 1 << 23) * 513u;
        memset(sums, 0, sizeof sums);
        for (uint32_t term = 0; term < term_count; term++) {
            pair[0] = (int16_t)draw(-255, 255);
            pair[1] = (int16_t)draw(-255, 255);
            memcpy(&terms[term].pair, pair, sizeof pair);
            terms[term].vector = (uint32_t)draw(0, ROOM);
            for (uint32_t i = 0; i < count; i++) {
                const int16_t *weight = weights + 2 * (terms[term].vector + i);
                sums[i] += (uint32_t)(weight[0] * pair[0] + weight[1] * pair[1]);
            }
        }
        kernels->scatter_terms(accumulators + off, weights, terms, term_count, count, paired);
        for (uint32_t i = 0; i < ROOM; i++)
            expect(accumulators[i] == added(before, sums, i, off, count, paired), kernels, "scatter_terms");
    }
}

/* ---- dot products ----------------------------------------------------------- */

static int32_t element(const es_pc_kernels *kernels, const uint8_t *at, uint32_t index, bool is_weight)
{
    int16_t value;

    if (kernels->group == 4)
        return is_weight || kernels->lowest != 0 ? (int8_t)at[index] : at[index];
    memcpy(&value, at + 2 * (size_t)index, sizeof value);
    return value;
}

static void check_dot(const es_pc_kernels *kernels, bool paired)
{
    static uint8_t source[4096];
    static ES_ALIGNED uint8_t memory[65536 + 64];
    uint8_t *weights = memory + (64 - (uintptr_t)memory % 64) % 64;
    static uint32_t accumulators[64 * 8 * ES_PC_BLOCK], before[64 * 8 * ES_PC_BLOCK], sums[64 * 8 * ES_PC_BLOCK];
    int32_t bias[8 * ES_PC_BLOCK];

    for (uint32_t trial = 0; trial < 300; trial++) {
        uint32_t runs[4], channels = (uint32_t)draw(1, 7 * ES_PC_BLOCK / 2) * (paired ? 2 : 1), count = 0;
        uint32_t blocks = (channels + ES_PC_BLOCK - 1) / ES_PC_BLOCK;
        es_pc_dot dot = {source + trial % 13, weights, runs, bias, (uint32_t)draw(1, 3), (uint32_t)draw(1, 9),
                         blocks, channels, (uint32_t)draw(1, 30), (uint32_t)draw(0, 20), paired};
        for (uint32_t i = 0; i < sizeof source; i++)
            source[i] = (uint8_t)draw(0, 255);
        for (uint32_t i = 0; i < 65536; i++)
            weights[i] = (uint8_t)draw(0, 255);
        for (uint32_t i = 0; i < 8 * ES_PC_BLOCK; i++)
            bias[i] = draw(-1000000, 1000000);
        for (uint32_t i = 0; i < 64 * 8 * ES_PC_BLOCK; i++)
            accumulators[i] = before[i] = (uint32_t)draw(0, 1 << 23) * 513u;
        if (kernels->group == 2) { /* differences and weights as they are: small numbers in 16 bits */
            dot.pixel_step &= ~1u;
            dot.source = source;
            for (uint32_t i = 0; i < sizeof source; i += 2)
                memcpy(source + i, &(int16_t){(int16_t)draw(-255, 255)}, 2);
            for (uint32_t i = 0; i < 65536; i += 2)
                memcpy(weights + i, &(int16_t){(int16_t)draw(-128, 127)}, 2);
        }
        for (uint32_t run = 0; run < 4; run++)
            runs[run] = (uint32_t)draw(0, 300) * 2;
        for (uint32_t pixel = 0; pixel < dot.pixels; pixel++)
            for (uint32_t lane = 0; lane < channels; lane++) {
                uint32_t sum = (uint32_t)bias[lane];
                for (uint32_t run = 0; run < dot.run_count; run++)
                    for (uint32_t i = 0; i < dot.groups * kernels->group; i++) {
                        uint32_t group = run * dot.groups + i / kernels->group;
                        uint32_t place = (group * blocks * ES_PC_BLOCK + lane) * kernels->group + i % kernels->group;
                        sum += (uint32_t)(element(kernels, dot.source + pixel * dot.pixel_step + runs[run], i, false) *
                                          element(kernels, weights, place, true));
                    }
                sums[count++] = sum;
            }
        kernels->dot(&dot, accumulators);
        for (uint32_t i = 0; i < 64 * 8 * ES_PC_BLOCK; i++)
            expect(accumulators[i] == added(before, sums, i, 0, count, paired), kernels, "dot");
    }
}

int main(void)
{
    check_quotients(1);
    check_quotients(15);
    check_quotients(255);
    for (uint32_t i = 0; es_pc_paths[i]; i++) {
        const es_pc_kernels *kernels = es_pc_paths[i];
        if (!kernels->is_available())
            continue;
        for (int quick = 0; quick < 2; quick++) {
            check_levels(kernels, 0, 255, 0, quick != 0);
            check_levels(kernels, 0, 15, 3, quick != 0);
            check_levels(kernels, -128, 127, 1, quick != 0);
            check_levels(kernels, -255, 0, 0, quick != 0);
            check_levels(kernels, 7, 200, 0, quick != 0);
        }
        check_bytes(kernels);
        check_pool(kernels);
        for (int paired = 0; paired < 2; paired++) {
            check_windows(kernels, paired != 0);
            check_scatter(kernels, paired != 0);
            check_dot(kernels, paired != 0);
        }
        printf("%s\n", kernels->name);
    }
    return 0;
}
