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
    uint32_t words[ROOM / 2];
    int16_t shorts[ROOM];
    float reciprocal[ROOM];
    uint8_t levels[ROOM], levels_of_shorts[ROOM];
    es_pc_steps steps = {step, low, high, reciprocal, (float)(greatest - least), shift, quick};
    int32_t most = quick ? (1 << 21) / (greatest - least + 1 + (least < 0 ? -least : least)) : (1 << 30) / 260;

    for (uint32_t count = 0; count <= LONGEST; count++) {
        uint32_t off = count % 16; /* not at the beginning of a vector */
        uint32_t even = off / 2 * 2;
        for (uint32_t i = 0; i < ROOM; i++) {
            int32_t size = draw(0, 21);
            step[i] = size == 21 ? most - draw(0, 3) : draw(1, 1 << size);
            step[i] = step[i] > most ? most : step[i];
            low[i] = least * step[i];
            high[i] = (greatest + 1) * step[i] - 1;
            reciprocal[i] = quick ? next_above(1.0f / (float)step[i]) : 1.0f / (float)step[i];
            accumulators[i] = ((draw(least - 2, greatest + 2) * step[i] - step[i] / 2) >> shift) + draw(-2, 2);
            if (draw(0, 20) == 0)
                accumulators[i] = draw(0, 1) ? INT32_MAX >> (shift + 1) : -(INT32_MAX >> (shift + 1));
        }
        for (uint32_t i = 0; i < ROOM / 2; i++)
            words[i] = (uint32_t)(int16_t)accumulators[2 * i] + ((uint32_t)accumulators[2 * i + 1] << 16);
        kernels->levels_32(&steps, accumulators + off, levels + off, count);
        kernels->unpair(shorts + off, words + even / 2, count / 2 * 2);
        kernels->levels_16(&steps, shorts + off, levels_of_shorts + off, count / 2 * 2);
        for (uint32_t i = 0; i < count; i++) {
            int32_t number = accumulators[off + i], narrow = (int16_t)accumulators[even + i];
            expect(levels[off + i] == level_at(number, shift, step[i], least, greatest), kernels, "levels_32");
            expect(i == count / 2 * 2 || levels_of_shorts[off + i] == level_at(narrow, shift, step[i], least, greatest),
                   kernels, "levels_16");
        }
    }
}

/* ---- element by element --------------------------------------------------- */

static void check_elements(const es_pc_kernels *kernels)
{
    uint8_t bytes[ROOM], now[ROOM], told[ROOM], kept[ROOM];
    int16_t values[ROOM], weights[ROOM], changes[ROOM];
    int32_t sums[ROOM], totals[ROOM], added[ROOM];
    uint32_t pairs[ROOM], pairs_before[ROOM];
    uint32_t words[ROOM], words_before[ROOM];

    for (uint32_t count = 0; count <= LONGEST; count++) {
        uint32_t off = count % 7, run_count = count % 5;
        const uint32_t runs[] = {0, 7, 3, 190, 64};
        int32_t least = draw(-255, 0), base = least - kernels->lowest, changed = 0;
        es_pc_change change;
        for (uint32_t i = 0; i < ROOM; i++) {
            bytes[i] = kept[i] = (uint8_t)draw(0, 255);
            now[i] = (uint8_t)draw(0, 255);
            told[i] = draw(0, 2) ? now[i] : (uint8_t)draw(0, 255);
            values[i] = (int16_t)(draw(0, 1) ? draw(-255, 255) : 0);
            weights[i] = (int16_t)draw(-32768, 32767);
            sums[i] = added[i] = draw(-100000, 100000);
            totals[i] = draw(-1000000, 1000000);
            pairs[i] = pairs_before[i] = (uint32_t)draw(0, 1 << 23) * 513u;
            words[i] = words_before[i] = (uint32_t)draw(0, 1 << 23) * 512u;
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
            changed += values[i] != 0;
        expect(kernels->count(values + off, count) == (uint32_t)changed, kernels, "count");
        kernels->windows(added + off, values, runs, run_count, weights + off, 3, count);
        kernels->add_16(pairs + off, sums + off, totals + off, base, count / 2 * 2);
        kernels->add_32(words + off, sums + off, totals + off, base, count);
        for (uint32_t i = 0; i < ROOM; i++) {
            bool inside = i >= off && i < off + count;
            uint32_t more = inside ? (uint32_t)sums[i] + (uint32_t)base * (uint32_t)totals[i] : 0;
            int32_t sum = inside ? 0 : sums[i];
            for (uint32_t run = 0; inside && run < run_count; run++)
                sum += values[runs[run] + i - off] * weights[off + 3 * run + i - off];
            expect(added[i] == sum, kernels, "windows");
            expect(words[i] == words_before[i] + more, kernels, "add_32");
        }
        for (uint32_t i = 0; i < ROOM; i++) {
            uint32_t low = off + 2 * (i - off);
            uint32_t more = 0;
            if (i >= off && i < off + count / 2)
                more = (uint32_t)sums[low] + (uint32_t)base * (uint32_t)totals[low] +
                       (((uint32_t)sums[low + 1] + (uint32_t)base * (uint32_t)totals[low + 1]) << 16);
            expect(pairs[i] == pairs_before[i] + more, kernels, "add_16");
        }
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

/* ---- dot products ----------------------------------------------------------- */

static int32_t element(const es_pc_kernels *kernels, const uint8_t *at, uint32_t index, bool is_weight)
{
    int16_t value;

    if (kernels->group == 4)
        return is_weight || kernels->lowest != 0 ? (int8_t)at[index] : at[index];
    memcpy(&value, at + 2 * (size_t)index, sizeof value);
    return value;
}

static void check_dot(const es_pc_kernels *kernels)
{
    static uint8_t source[4096];
    static ES_ALIGNED uint8_t memory[65536 + 64];
    uint8_t *weights = memory + (64 - (uintptr_t)memory % 64) % 64;
    static int32_t sums[64 * 8 * ES_PC_BLOCK];

    for (uint32_t trial = 0; trial < 300; trial++) {
        uint32_t runs[4];
        es_pc_dot dot = {source + trial % 13, weights, runs, (uint32_t)draw(1, 3), (uint32_t)draw(1, 9),
                         (uint32_t)draw(1, 7), (uint32_t)draw(1, 30), (uint32_t)draw(0, 20)};
        for (uint32_t i = 0; i < sizeof source; i++)
            source[i] = (uint8_t)draw(0, 255);
        for (uint32_t i = 0; i < 65536; i++)
            weights[i] = (uint8_t)draw(0, 255);
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
        kernels->dot(&dot, sums);
        for (uint32_t pixel = 0; pixel < dot.pixels; pixel++)
            for (uint32_t lane = 0; lane < dot.blocks * ES_PC_BLOCK; lane++) {
                int32_t sum = 0;
                for (uint32_t run = 0; run < dot.run_count; run++)
                    for (uint32_t i = 0; i < dot.groups * kernels->group; i++) {
                        uint32_t group = run * dot.groups + i / kernels->group;
                        uint32_t place = (group * dot.blocks * ES_PC_BLOCK + lane) * kernels->group + i % kernels->group;
                        sum += element(kernels, dot.source + pixel * dot.pixel_step + runs[run], i, false) *
                               element(kernels, weights, place, true);
                    }
                expect(sums[pixel * dot.blocks * ES_PC_BLOCK + lane] == sum, kernels, "dot");
            }
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
        check_elements(kernels);
        check_dot(kernels);
        printf("%s\n", kernels->name);
    }
    return 0;
}
