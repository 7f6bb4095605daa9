/* x86-64 with AVX-512 and its dot products of bytes. */
#include "es_pc_paths.h"

#ifdef ES_PC_X86
#include <immintrin.h>

#define ES_PC_NAME "avx512vnni"
#define ES_PC_TABLE es_pc_vnni
#define ES_PC_OWN_TELL
#define ES_PC_TARGET \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,prefer-vector-width=512")))

enum { GROUP = 4, LOWEST = 0, VECTORS = 1, WIDE_BLOCKS = 2, WIDE_PIXELS = 7, NARROW_PIXELS = 7, FEW_PIXELS = 3 };
#define DENSE_NANOSECONDS 0.4
#define SCATTER_NANOSECONDS 0.07

typedef __m512i vector;

static bool is_available(void)
{
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

ES_PC_TARGET ES_PC_INLINE vector broadcast(const void *four)
{
    return _mm512_set1_epi32(es_pc_word(four));
}

ES_PC_TARGET ES_PC_INLINE vector load(const void *numbers)
{
    return _mm512_loadu_si512(numbers);
}

ES_PC_TARGET ES_PC_INLINE void store(void *numbers, vector given)
{
    _mm512_storeu_si512(numbers, given);
}

ES_PC_TARGET ES_PC_INLINE vector load_some(const void *numbers, uint32_t count)
{
    return _mm512_maskz_loadu_epi32((__mmask16)((1u << count) - 1), numbers);
}

ES_PC_TARGET ES_PC_INLINE void store_some(void *numbers, vector given, uint32_t count)
{
    _mm512_mask_storeu_epi32(numbers, (__mmask16)((1u << count) - 1), given);
}

ES_PC_TARGET ES_PC_INLINE vector add(vector a, vector b)
{
    return _mm512_add_epi32(a, b);
}

ES_PC_TARGET ES_PC_INLINE void add_paired(uint32_t *words, vector sums, uint32_t count)
{
    vector folded = _mm512_add_epi64(sums, _mm512_slli_epi64(_mm512_srli_epi64(sums, 32), 16));
    __m256i more = _mm512_cvtepi64_epi32(folded);
    __mmask8 mask = (__mmask8)((1u << count / 2) - 1);

    if (count == ES_PC_BLOCK)
        _mm256_storeu_si256((__m256i *)(void *)words,
                            _mm256_add_epi32(_mm256_loadu_si256((const __m256i *)(const void *)words), more));
    else
        _mm256_mask_storeu_epi32(words, mask, _mm256_add_epi32(_mm256_maskz_loadu_epi32(mask, words), more));
}

ES_PC_TARGET ES_PC_INLINE vector zero(void)
{
    return _mm512_setzero_si512();
}

ES_PC_TARGET ES_PC_INLINE vector interleave_low(vector a, vector b)
{
    return _mm512_unpacklo_epi16(a, b);
}

ES_PC_TARGET ES_PC_INLINE vector interleave_high(vector a, vector b)
{
    return _mm512_unpackhi_epi16(a, b);
}

ES_PC_TARGET ES_PC_INLINE void untangle(vector *low, vector *high)
{
    vector first = _mm512_permutex2var_epi64(*low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), *high);

    *high = _mm512_permutex2var_epi64(*low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), *high);
    *low = first;
}

ES_PC_TARGET ES_PC_INLINE vector multiply_add_groups(vector sum, vector given, vector weight)
{
    return _mm512_dpbusd_epi32(sum, given, weight);
}

ES_PC_TARGET ES_PC_INLINE vector multiply_add_pairs(vector sum, vector given, vector weight)
{
    return _mm512_dpwssd_epi32(sum, given, weight);
}

/* ---- levels: es_pc_tell.h has the same in C --------------------------------- */

ES_PC_TARGET ES_PC_INLINE vector quick_levels(const es_pc_steps *steps, vector accumulators, uint32_t i, __mmask16 mask)
{
    vector number = _mm512_sll_epi32(accumulators, _mm_cvtsi32_si128((int32_t)steps->shift));
    __m512 counted = _mm512_add_ps(_mm512_cvtepi32_ps(number), _mm512_maskz_loadu_ps(mask, steps->offset + i));
    __m512 quotient = _mm512_mul_ps(counted, _mm512_maskz_loadu_ps(mask, steps->reciprocal + i));

    quotient = _mm512_max_ps(_mm512_min_ps(quotient, _mm512_set1_ps(steps->most)), _mm512_setzero_ps());
    return _mm512_cvttps_epi32(quotient);
}

ES_PC_TARGET ES_PC_INLINE vector slow_levels(const es_pc_steps *steps, vector accumulators, uint32_t i, __mmask16 mask)
{
    vector one = _mm512_set1_epi32(1);
    vector step = _mm512_maskz_loadu_epi32(mask, steps->step + i);
    vector low = _mm512_maskz_loadu_epi32(mask, steps->low + i);
    vector high = _mm512_maskz_loadu_epi32(mask, steps->high + i);
    vector number = _mm512_sll_epi32(accumulators, _mm_cvtsi32_si128((int32_t)steps->shift));
    vector level;

    number = _mm512_add_epi32(number, _mm512_srli_epi32(step, 1));
    number = _mm512_sub_epi32(_mm512_min_epi32(_mm512_max_epi32(number, low), high), low);
    level = _mm512_cvttps_epi32(
        _mm512_mul_ps(_mm512_cvtepi32_ps(number), _mm512_maskz_loadu_ps(mask, steps->reciprocal + i)));
    number = _mm512_sub_epi32(number, _mm512_mullo_epi32(level, step));
    level = _mm512_mask_add_epi32(level, _mm512_cmpge_epi32_mask(number, step), level, one);
    return _mm512_mask_sub_epi32(level, _mm512_cmplt_epi32_mask(number, _mm512_setzero_si512()), level, one);
}

ES_PC_TARGET ES_PC_INLINE vector accumulators_at(const uint32_t *accumulators, uint32_t i, __mmask16 mask, bool paired)
{
    __m256i words;

    if (!paired)
        return _mm512_maskz_loadu_epi32(mask, accumulators + i);
    words = _mm256_maskz_loadu_epi16(mask, accumulators + i / 2);
    words = _mm256_add_epi32(words, _mm256_and_si256(_mm256_slli_epi32(words, 1), _mm256_set1_epi32(0x10000)));
    return _mm512_cvtepi16_epi32(words);
}

/* What all blocks of neurons have told, lane by lane. */
typedef struct summary {
    vector least;
    vector greatest;
    uint32_t count;
} summary;

/* `whole`: the block has all its neurons. Stores under a mask are slow, so that this is known when it is compiled. */
ES_PC_TARGET ES_PC_INLINE void tell_block(const es_pc_steps *steps, vector present, uint8_t *told, int16_t *changes,
                                          uint32_t i, __mmask16 mask, bool whole, bool quick, summary *all)
{
    vector levels = quick ? quick_levels(steps, present, i, mask) : slow_levels(steps, present, i, mask);
    vector before = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, told + i));
    vector difference = _mm512_maskz_sub_epi32(mask, levels, before);

    if (whole) {
        _mm256_storeu_si256((__m256i *)(void *)(changes + i), _mm512_cvtepi32_epi16(difference));
        _mm_storeu_si128((__m128i *)(void *)(told + i), _mm512_cvtepi32_epi8(levels));
    } else {
        _mm256_mask_storeu_epi16(changes + i, mask, _mm512_cvtepi32_epi16(difference));
        _mm_mask_storeu_epi8(told + i, mask, _mm512_cvtepi32_epi8(levels));
    }
    all->count += (uint32_t)__builtin_popcount(_mm512_test_epi32_mask(difference, difference));
    all->least = _mm512_min_epi32(all->least, difference);
    all->greatest = _mm512_max_epi32(all->greatest, difference);
}

ES_PC_TARGET ES_PC_INLINE es_pc_change tell(const es_pc_steps *given, const uint32_t *accumulators, uint8_t *told,
                                            int16_t *changes, uint32_t count, bool paired, bool quick)
{
    const es_pc_steps steps = *given;
    const __mmask16 full = 0xffff, rest = (__mmask16)((1u << count % ES_PC_BLOCK) - 1);
    summary all = {_mm512_setzero_si512(), _mm512_setzero_si512(), 0};
    es_pc_change change;
    uint32_t i = 0;

    for (; i + ES_PC_BLOCK <= count; i += ES_PC_BLOCK)
        tell_block(&steps, accumulators_at(accumulators, i, full, paired), told, changes, i, full, true, quick, &all);
    if (rest)
        tell_block(&steps, accumulators_at(accumulators, i, rest, paired), told, changes, i, rest, false, quick, &all);
    change.count = all.count;
    change.least = _mm512_reduce_min_epi32(all.least);
    change.greatest = _mm512_reduce_max_epi32(all.greatest);
    return change;
}

ES_PC_TARGET static es_pc_change tell_16(const es_pc_steps *steps, const uint32_t *accumulators, uint8_t *told,
                                         int16_t *changes, uint32_t count)
{
    if (steps->quick)
        return tell(steps, accumulators, told, changes, count, true, true);
    return tell(steps, accumulators, told, changes, count, true, false);
}

ES_PC_TARGET static es_pc_change tell_32(const es_pc_steps *steps, const uint32_t *accumulators, uint8_t *told,
                                         int16_t *changes, uint32_t count)
{
    if (steps->quick)
        return tell(steps, accumulators, told, changes, count, false, true);
    return tell(steps, accumulators, told, changes, count, false, false);
}

#include "es_pc_kernels.h"
#endif
