/* x86-64 with AVX2. */
#include "es_pc_paths.h"

#ifdef ES_PC_X86
#include <immintrin.h>

#define ES_PC_NAME "avx2"
#define ES_PC_TABLE es_pc_avx2
#define ES_PC_TARGET __attribute__((target("avx2,fma")))

enum { GROUP = 2, LOWEST = 0, VECTORS = 2, WIDE_BLOCKS = 2, WIDE_PIXELS = 2, NARROW_PIXELS = 4, FEW_PIXELS = 2 };
#define DENSE_NANOSECONDS 0.8
#define SCATTER_NANOSECONDS 0.08

typedef __m256i vector;

static bool is_available(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

ES_PC_TARGET ES_PC_INLINE vector broadcast(const void *four)
{
    return _mm256_set1_epi32(es_pc_word(four));
}

ES_PC_TARGET ES_PC_INLINE vector load(const void *numbers)
{
    return _mm256_loadu_si256((const __m256i *)numbers);
}

ES_PC_TARGET ES_PC_INLINE void store(void *numbers, vector given)
{
    _mm256_storeu_si256((__m256i *)numbers, given);
}

ES_PC_TARGET ES_PC_INLINE vector first_lanes(uint32_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

ES_PC_TARGET ES_PC_INLINE vector load_some(const void *numbers, uint32_t count)
{
    return _mm256_maskload_epi32((const int *)numbers, first_lanes(count));
}

ES_PC_TARGET ES_PC_INLINE void store_some(void *numbers, vector given, uint32_t count)
{
    _mm256_maskstore_epi32((int *)numbers, first_lanes(count), given);
}

ES_PC_TARGET ES_PC_INLINE vector add(vector a, vector b)
{
    return _mm256_add_epi32(a, b);
}

ES_PC_TARGET ES_PC_INLINE vector zero(void)
{
    return _mm256_setzero_si256();
}

ES_PC_TARGET ES_PC_INLINE void add_all_paired(uint32_t *words, vector sums)
{
    vector folded = _mm256_add_epi64(sums, _mm256_slli_epi64(_mm256_srli_epi64(sums, 32), 16));
    vector even = _mm256_permutevar8x32_epi32(folded, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    __m128i *to = (__m128i *)(void *)words;

    _mm_storeu_si128(to, _mm_add_epi32(_mm_loadu_si128(to), _mm256_castsi256_si128(even)));
}

ES_PC_TARGET ES_PC_INLINE vector interleave_low(vector a, vector b)
{
    return _mm256_unpacklo_epi16(a, b);
}

ES_PC_TARGET ES_PC_INLINE vector interleave_high(vector a, vector b)
{
    return _mm256_unpackhi_epi16(a, b);
}

ES_PC_TARGET ES_PC_INLINE void untangle(vector *low, vector *high)
{
    vector first = _mm256_permute2x128_si256(*low, *high, 0x20);

    *high = _mm256_permute2x128_si256(*low, *high, 0x31);
    *low = first;
}

ES_PC_TARGET ES_PC_INLINE vector multiply_add_pairs(vector sum, vector given, vector weight)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(given, weight));
}

#define multiply_add_groups multiply_add_pairs

#include "es_pc_paired.h"

#include "es_pc_kernels.h"
#endif
