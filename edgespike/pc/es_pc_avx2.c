/* x86-64 with AVX2. */
#include "es_pc_paths.h"

#ifdef ES_PC_X86
#include <immintrin.h>

#define ES_PC_NAME "avx2"
#define ES_PC_TABLE es_pc_avx2
#define ES_PC_TARGET __attribute__((target("avx2,fma")))

enum { GROUP = 2, LOWEST = 0, VECTORS = 2, WIDE_BLOCKS = 2, WIDE_PIXELS = 2, NARROW_PIXELS = 4 };
#define DENSE_NANOSECONDS 0.8

typedef __m256i vector;

static bool is_available(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

ES_PC_TARGET ES_PC_INLINE vector zero(void)
{
    return _mm256_setzero_si256();
}

ES_PC_TARGET ES_PC_INLINE vector broadcast(const uint8_t *four)
{
    return _mm256_set1_epi32(es_pc_word(four));
}

ES_PC_TARGET ES_PC_INLINE vector load(const uint8_t *weights)
{
    return _mm256_load_si256((const __m256i *)(const void *)weights);
}

ES_PC_TARGET ES_PC_INLINE vector multiply_add_groups(vector sum, vector given, vector weight)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(given, weight));
}

ES_PC_TARGET ES_PC_INLINE void store(int32_t *sums, vector sum)
{
    _mm256_storeu_si256((__m256i *)(void *)sums, sum);
}

#include "es_pc_kernels.h"
#endif
