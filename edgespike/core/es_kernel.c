/* The inner loops: pure functions over the caller's buffers. Sums are unsigned,
 * so that a model whose overflow proof lies wraps around and does nothing worse.
 *
 * Processors with Arm's DSP instructions (Cortex-M4, M7, M33, M55) take most of
 * the elements in assembly and leave what remains to the C beside it, which is
 * all that others have. */
#include "es_internal.h"

#ifndef ES_WITH_DSP
#if ES_WITH_SPEED && defined(__GNUC__) && defined(__OPTIMIZE__) && defined(__ARM_FEATURE_SIMD32) && \
    __ARM_ARCH_PROFILE == 'M'
#define ES_WITH_DSP 1
#else
#define ES_WITH_DSP 0
#endif
#endif

/* The assembly needs all registers but one, so that none is left to point to a frame. */
#if ES_WITH_DSP && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("omit-frame-pointer")
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

ES_APART void es_add_vectors_32(uint32_t *accumulators, const int8_t *weights, const es_term *terms,
                       uint32_t term_count, uint32_t length)
{
    uint32_t i = 0;

    for (; ES_WITH_SPEED && i + 1 < term_count; i += 2)
        add_two_32(accumulators, weights + terms[i].vector, terms[i].value, weights + terms[i + 1].vector,
                   terms[i + 1].value, length);
    for (; i < term_count; i++)
        add_one_32(accumulators, weights + terms[i].vector, terms[i].value, length);
}

/* ---- two accumulators of 2 bytes in a word ------------------------------- */

/* Two weights are one word, and one multiplication adds to two accumulators. Weights of 8 bits are
 * put together from their bytes; those that take 16 bits in the file lie there as such words. */

/* Bytes 0 and 2 of four make a word of two weights, bytes 1 and 3 the next: docs/format.md, PROJ. */
static inline uint32_t weight_pair(const int8_t *bytes)
{
    return (uint32_t)bytes[2] << 16 | (uint16_t)bytes[0];
}

/* Word `pair` or, where `odd` is 1, the next one; `pair` is even. */
static inline uint32_t word_of(const int8_t *weights, uint32_t pair, uint32_t odd, bool bytes)
{
    return bytes ? weight_pair(weights + 2 * pair + odd) : ((const uint32_t *)(const void *)weights)[pair + odd];
}

#if ES_WITH_DSP
#define ADD_BYTES(from, value)                                                                             \
    "ldm " from "!, {r8, r9}\n"                                                                            \
    "sxtb16 r10, r8\n mla r3, r10, " value ", r3\n sxtb16 r10, r8, ror #8\n mla r4, r10, " value ", r4\n"  \
    "sxtb16 r10, r9\n mla r5, r10, " value ", r5\n sxtb16 r10, r9, ror #8\n mla r6, r10, " value ", r6\n"
#define ADD_WORDS(from, value)                                                                             \
    "ldm " from "!, {r8, r9, r10, r11}\n"                                                                  \
    "mla r3, r8, " value ", r3\n mla r4, r9, " value ", r4\n"                                              \
    "mla r5, r10, " value ", r5\n mla r6, r11, " value ", r6\n"
#define BLOCK(sums) "ldm %[to], {r3, r4, r5, r6}\n" sums "stm %[to]!, {r3, r4, r5, r6}\n"

/* Blocks of four words up to `end`, of eight words where they divide the way. */
#define ADD_ONE(sums, blocks)                                                                              \
    __asm__ volatile("1:" blocks(BLOCK(sums("%[from]", "%[value]"))) "cmp %[to], %[end]\n bne 1b\n"       \
                     : [to] "+r"(to), [from] "+r"(from)                                                    \
                     : [value] "r"(value), [end] "r"(end)                                                  \
                     : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "cc", "memory")
#define ADD_TWO(sums, blocks)                                                                              \
    __asm__ volatile("1:" blocks(BLOCK(sums("%[from]", "%[value]") sums("%[from_2]", "%[value_2]")))       \
                     "cmp %[to], %[end]\n bne 1b\n"                                                        \
                     : [to] "+r"(to), [from] "+r"(from), [from_2] "+r"(from_2)                             \
                     : [value] "r"(value), [value_2] "r"(value_2), [end] "r"(end)                          \
                     : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "cc", "memory")
#define ONCE(block) block
#define TWICE(block) block block

/* From `to` to `end`, which are not equal, in fours. */
static inline void fast_one(uint32_t *to, const uint32_t *end, const int8_t *from, uint32_t value, bool bytes)
{
    bool twice = (end - to) % 8 == 0;

    if (bytes && twice)
        ADD_ONE(ADD_BYTES, TWICE);
    else if (bytes)
        ADD_ONE(ADD_BYTES, ONCE);
    else if (twice)
        ADD_ONE(ADD_WORDS, TWICE);
    else
        ADD_ONE(ADD_WORDS, ONCE);
}

static inline void fast_two(uint32_t *to, const uint32_t *end, const int8_t *from, uint32_t value,
                            const int8_t *from_2, uint32_t value_2, bool bytes)
{
    bool twice = (end - to) % 8 == 0;

    if (bytes && twice)
        ADD_TWO(ADD_BYTES, TWICE);
    else if (bytes)
        ADD_TWO(ADD_BYTES, ONCE);
    else if (twice)
        ADD_TWO(ADD_WORDS, TWICE);
    else
        ADD_TWO(ADD_WORDS, ONCE);
}

/* All terms, over as many words as divide by four. Returns how many these are. */
static inline uint32_t add_fours(uint32_t *words, const int8_t *weights, const es_term *terms, uint32_t term_count,
                                 uint32_t count, bool bytes)
{
    const es_term *last = terms + (term_count & ~1u);
    const uint32_t *end = words + (count & ~3u);

    if (words == end)
        return 0;
    for (; terms < last; terms += 2)
        fast_two(words, end, weights + terms[0].vector, terms[0].value, weights + terms[1].vector, terms[1].value,
                 bytes);
    if (term_count & 1)
        fast_one(words, end, weights + terms->vector, terms->value, bytes);
    return count & ~3u;
}
#else
#define add_fours(words, weights, terms, term_count, count, bytes) 0
#endif

/* One or, with a second value, two terms over words first, first + 1, ... */
static inline void add_rest(uint32_t *restrict words, uint32_t first, uint32_t count, const int8_t *restrict from,
                            uint32_t value, const int8_t *restrict from_2, uint32_t value_2, bool bytes)
{
    uint32_t i = first;

    for (; i + 1 < count; i += 2) {
        words[i] += word_of(from, i, 0, bytes) * value + (from_2 ? word_of(from_2, i, 0, bytes) * value_2 : 0);
        words[i + 1] += word_of(from, i, 1, bytes) * value + (from_2 ? word_of(from_2, i, 1, bytes) * value_2 : 0);
    }
    if (i < count)
        words[i] += word_of(from, i, 0, bytes) * value + (from_2 ? word_of(from_2, i, 0, bytes) * value_2 : 0);
}

/* Two terms at once read and write the accumulators half as often. */
static inline void add_pairs(uint32_t *words, const int8_t *weights, const es_term *terms, uint32_t term_count,
                             uint32_t count, bool bytes)
{
    uint32_t first = add_fours(words, weights, terms, term_count, count, bytes), i = 0;

    if (first == count)
        return;
    for (; ES_WITH_SPEED && i + 1 < term_count; i += 2)
        add_rest(words, first, count, weights + terms[i].vector, terms[i].value, weights + terms[i + 1].vector,
                 terms[i + 1].value, bytes);
    for (; i < term_count; i++)
        add_rest(words, first, count, weights + terms[i].vector, terms[i].value, NULL, 0, bytes);
}

ES_APART void es_add_vectors_16(uint32_t *accumulators, const int8_t *weights, const es_term *terms,
                       uint32_t term_count, uint32_t length)
{
    add_pairs(accumulators, weights, terms, term_count, length / 2, true);
}

ES_APART void es_add_words_16(uint32_t *accumulators, const int8_t *weights, const es_term *terms, uint32_t term_count,
                     uint32_t length)
{
    add_pairs(accumulators, weights, terms, term_count, length / 2, false);
}

#if ES_WITH_DSP && !defined(__clang__)
#pragma GCC pop_options
#endif

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
        if (bytes == 0)
            return;
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
