/* The inner loops: pure functions over the caller's buffers. Sums are unsigned,
 * so that a model whose overflow proof lies wraps around and does nothing worse.
 *
 * Processors with Arm's DSP instructions (Cortex-M4, M7, M33, M55) take most of
 * the elements in assembly and leave what remains to the C beside it, which is
 * all that others have. */
#include "es_internal.h"

#ifndef ES_WITH_DSP
#if ES_WITH_SPEED && defined(__GNUC__) && defined(__ARM_FEATURE_SIMD32) && __ARM_ARCH_PROFILE == 'M'
#define ES_WITH_DSP 1
#else
#define ES_WITH_DSP 0
#endif
#endif

/* ---- weights of 8 bits, accumulators of 4 bytes -------------------------- */

/* A product of 8 and 16 bits in 32: compilers have vector instructions for it. */
static inline uint32_t product(int8_t weight, uint32_t value)
{
    return (uint32_t)((int16_t)weight * (int16_t)value);
}

#if ES_WITH_DSP
/* Of four weights in a register, 0 and 2 widen to one word and 1 and 3 to the next. */
#define ADD_FOUR(value)                                                                                    \
    "sxtb16 r9, r8\n sxtb16 r10, r8, ror #8\n"                                                             \
    "smlabb r3, r9, " value ", r3\n smlabb r4, r10, " value ", r4\n"                                       \
    "smlatb r5, r9, " value ", r5\n smlatb r6, r10, " value ", r6\n"

static inline uint32_t fast_one_32(uint32_t *accumulators, const int8_t *weights, uint32_t value, uint32_t count)
{
    const uint32_t *end = accumulators + (count & ~3u);

    if (accumulators != end)
        __asm__ volatile("1: ldm %[to], {r3, r4, r5, r6}\n ldr r8, [%[from]], #4\n" ADD_FOUR("%[value]")
                         "stm %[to]!, {r3, r4, r5, r6}\n cmp %[to], %[end]\n bne 1b\n"
                         : [to] "+r"(accumulators), [from] "+r"(weights)
                         : [value] "r"(value), [end] "r"(end)
                         : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
    return count & ~3u;
}

static inline uint32_t fast_two_32(uint32_t *accumulators, const int8_t *weights, uint32_t value,
                                   const int8_t *weights_2, uint32_t value_2, uint32_t count)
{
    const uint32_t *end = accumulators + (count & ~3u);

    if (accumulators != end)
        __asm__ volatile("1: ldm %[to], {r3, r4, r5, r6}\n ldr r8, [%[from]], #4\n" ADD_FOUR("%[value]")
                         "ldr r8, [%[from_2]], #4\n" ADD_FOUR("%[value_2]")
                         "stm %[to]!, {r3, r4, r5, r6}\n cmp %[to], %[end]\n bne 1b\n"
                         : [to] "+r"(accumulators), [from] "+r"(weights), [from_2] "+r"(weights_2)
                         : [value] "r"(value), [value_2] "r"(value_2), [end] "r"(end)
                         : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
    return count & ~3u;
}
#else
#define fast_one_32(accumulators, weights, value, count) 0
#define fast_two_32(accumulators, weights, value, weights_2, value_2, count) 0
#endif

static inline void add_one_32(uint32_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                              uint32_t count)
{
    for (uint32_t i = fast_one_32(accumulators, weights, value, count); i < count; i++)
        accumulators[i] += product(weights[i], value);
}

/* Two events at once read and write the accumulators half as often. */
static inline void add_two_32(uint32_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                              const int8_t *restrict weights_2, uint32_t value_2, uint32_t count)
{
    for (uint32_t i = fast_two_32(accumulators, weights, value, weights_2, value_2, count); i < count; i++)
        accumulators[i] += product(weights[i], value) + product(weights_2[i], value_2);
}

void es_add_vectors_32(uint32_t *accumulators, const int8_t *weights, const es_term *terms,
                       uint32_t term_count, uint32_t length)
{
    uint32_t i = 0;

    for (; ES_WITH_SPEED && i + 1 < term_count; i += 2)
        add_two_32(accumulators, weights + terms[i].vector, terms[i].value, weights + terms[i + 1].vector,
                   terms[i + 1].value, length);
    for (; i < term_count; i++)
        add_one_32(accumulators, weights + terms[i].vector, terms[i].value, length);
}

/* ---- weights of 8 bits, accumulators of 2 bytes -------------------------- */

/* Bytes 0 and 2 of four make a word of two weights, bytes 1 and 3 the next: docs/format.md, PROJ. */
static inline uint32_t weight_pair(const int8_t *bytes)
{
    return (uint32_t)bytes[2] << 16 | (uint16_t)bytes[0];
}

#if ES_WITH_DSP
/* Two weights are one word, and one multiplication adds to two accumulators. */
#define ADD_EIGHT(value)                                                                                   \
    "sxtb16 r10, r8\n mla r3, r10, " value ", r3\n sxtb16 r10, r8, ror #8\n mla r4, r10, " value ", r4\n"  \
    "sxtb16 r10, r9\n mla r5, r10, " value ", r5\n sxtb16 r10, r9, ror #8\n mla r6, r10, " value ", r6\n"
#define ONE_BLOCK                                                                                          \
    "ldm %[to], {r3, r4, r5, r6}\n ldm %[from]!, {r8, r9}\n" ADD_EIGHT("%[value]")                         \
    "stm %[to]!, {r3, r4, r5, r6}\n"
#define TWO_BLOCK                                                                                          \
    "ldm %[to], {r3, r4, r5, r6}\n ldm %[from]!, {r8, r9}\n" ADD_EIGHT("%[value]")                         \
    "ldm %[from_2]!, {r8, r9}\n" ADD_EIGHT("%[value_2]") "stm %[to]!, {r3, r4, r5, r6}\n"

static inline uint32_t fast_one_pairs(uint32_t *accumulators, const int8_t *weights, uint32_t value,
                                      uint32_t count)
{
    const uint32_t *end = accumulators + (count & ~3u);
    const uint32_t *end_of_fours = accumulators + (count & ~15u);

    if (accumulators != end_of_fours)
        __asm__ volatile("1:" ONE_BLOCK ONE_BLOCK ONE_BLOCK ONE_BLOCK "cmp %[to], %[end]\n bne 1b\n"
                         : [to] "+r"(accumulators), [from] "+r"(weights)
                         : [value] "r"(value), [end] "r"(end_of_fours)
                         : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
    if (accumulators != end)
        __asm__ volatile("1:" ONE_BLOCK "cmp %[to], %[end]\n bne 1b\n"
                         : [to] "+r"(accumulators), [from] "+r"(weights)
                         : [value] "r"(value), [end] "r"(end)
                         : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
    return count & ~3u;
}

static inline uint32_t fast_two_pairs(uint32_t *accumulators, const int8_t *weights, uint32_t value,
                                      const int8_t *weights_2, uint32_t value_2, uint32_t count)
{
    const uint32_t *end = accumulators + (count & ~3u);
    const uint32_t *end_of_fours = accumulators + (count & ~15u);

    if (accumulators != end_of_fours)
        __asm__ volatile("1:" TWO_BLOCK TWO_BLOCK TWO_BLOCK TWO_BLOCK "cmp %[to], %[end]\n bne 1b\n"
                         : [to] "+r"(accumulators), [from] "+r"(weights), [from_2] "+r"(weights_2)
                         : [value] "r"(value), [value_2] "r"(value_2), [end] "r"(end_of_fours)
                         : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
    if (accumulators != end)
        __asm__ volatile("1:" TWO_BLOCK "cmp %[to], %[end]\n bne 1b\n"
                         : [to] "+r"(accumulators), [from] "+r"(weights), [from_2] "+r"(weights_2)
                         : [value] "r"(value), [value_2] "r"(value_2), [end] "r"(end)
                         : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
    return count & ~3u;
}
#else
#define fast_one_pairs(accumulators, weights, value, count) 0
#define fast_two_pairs(accumulators, weights, value, weights_2, value_2, count) 0
#endif

/* `count` words of accumulators; an even number of them unless the last weight vectors end. */
static inline void add_one_pairs(uint32_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                                 uint32_t count)
{
    uint32_t i = fast_one_pairs(accumulators, weights, value, count);

    for (; i + 1 < count; i += 2) {
        accumulators[i] += weight_pair(weights + 2 * i) * value;
        accumulators[i + 1] += weight_pair(weights + 2 * i + 1) * value;
    }
    if (i < count)
        accumulators[i] += weight_pair(weights + 2 * i) * value;
}

static inline void add_two_pairs(uint32_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                                 const int8_t *restrict weights_2, uint32_t value_2, uint32_t count)
{
    uint32_t i = fast_two_pairs(accumulators, weights, value, weights_2, value_2, count);

    for (; i + 1 < count; i += 2) {
        accumulators[i] += weight_pair(weights + 2 * i) * value + weight_pair(weights_2 + 2 * i) * value_2;
        accumulators[i + 1] +=
            weight_pair(weights + 2 * i + 1) * value + weight_pair(weights_2 + 2 * i + 1) * value_2;
    }
    if (i < count)
        accumulators[i] += weight_pair(weights + 2 * i) * value + weight_pair(weights_2 + 2 * i) * value_2;
}

void es_add_vectors_16(uint32_t *accumulators, const int8_t *weights, const es_term *terms,
                       uint32_t term_count, uint32_t length)
{
    uint32_t i = 0;

    for (; ES_WITH_SPEED && i + 1 < term_count; i += 2)
        add_two_pairs(accumulators, weights + terms[i].vector, terms[i].value, weights + terms[i + 1].vector,
                      terms[i + 1].value, length / 2);
    for (; i < term_count; i++)
        add_one_pairs(accumulators, weights + terms[i].vector, terms[i].value, length / 2);
}

/* ---- any values, weights of 4 bits, maxima ------------------------------- */

void es_add_wide_vectors_32(uint32_t *restrict accumulators, const int8_t *restrict weights,
                            const es_term *restrict terms, uint32_t term_count, uint32_t length)
{
    for (uint32_t i = 0; i < term_count; i++)
        for (uint32_t j = 0; j < length; j++)
            accumulators[j] += (uint32_t)weights[terms[i].vector + j] * terms[i].value;
}

/* Of two weights of 4 bits in a byte the lower and the upper one. */
static inline uint32_t lower(int8_t pair)
{
    return (uint32_t)((int8_t)((uint32_t)pair << 4) >> 4);
}

static inline uint32_t upper(int8_t pair)
{
    return (uint32_t)(pair >> 4);
}

void es_add_halves_32(uint32_t *restrict accumulators, const int8_t *restrict weights,
                      const es_term *restrict terms, uint32_t term_count, uint32_t length)
{
    uint32_t half = (length + 1) / 2;

    for (uint32_t i = 0; i < term_count; i++) {
        const int8_t *pairs = weights + terms[i].vector;
        for (uint32_t j = 0; j < half; j++)
            accumulators[j] += lower(pairs[j]) * terms[i].value;
        for (uint32_t j = half; j < length; j++)
            accumulators[j] += upper(pairs[j - half]) * terms[i].value;
    }
}

void es_add_halves_16(uint32_t *restrict accumulators, const int8_t *restrict weights,
                      const es_term *restrict terms, uint32_t term_count, uint32_t length)
{
    for (uint32_t i = 0; i < term_count; i++) {
        const int8_t *pairs = weights + terms[i].vector;
        for (uint32_t j = 0; j < length / 2; j++)
            accumulators[j] += (lower(pairs[j]) + (upper(pairs[j]) << 16)) * terms[i].value;
    }
}

#if ES_WITH_SPEED
void es_copy(uint8_t *restrict to, const uint8_t *restrict from, uint32_t bytes)
{
#if ES_WITH_DSP
    if (((uintptr_t)to | (uintptr_t)from) % 4 == 0 && bytes >= 16) {
        const uint8_t *end = to + (bytes & ~15u);
        __asm__ volatile("1: ldm %[from]!, {r3, r4, r5, r6}\n stm %[to]!, {r3, r4, r5, r6}\n"
                         "cmp %[to], %[end]\n bne 1b\n"
                         : [to] "+r"(to), [from] "+r"(from)
                         : [end] "r"(end)
                         : "r3", "r4", "r5", "r6", "cc", "memory");
        bytes &= 15;
    }
#endif
    memcpy(to, from, bytes);
}
#endif

void es_maximum_8(uint16_t *restrict maxima, const uint8_t *restrict values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        maxima[i] = values[i] > maxima[i] ? values[i] : maxima[i];
}

void es_maximum_16(uint16_t *restrict maxima, const uint16_t *restrict values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        maxima[i] = values[i] > maxima[i] ? values[i] : maxima[i];
}
