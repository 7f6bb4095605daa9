/* x86-64 with AVX-512 and its dot products of bytes. */
#include "es_pc_paths.h"

#ifdef ES_PC_X86
#include <immintrin.h>

#define ES_PC_NAME "avx512vnni"
#define ES_PC_TABLE es_pc_vnni
#define ES_PC_TARGET \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,prefer-vector-width=512")))

enum { GROUP = 4, LOWEST = 0, VECTORS = 1, WIDE_BLOCKS = 2, WIDE_PIXELS = 6, NARROW_PIXELS = 8 };
#define DENSE_NANOSECONDS 0.4

typedef __m512i vector;

static bool is_available(void)
{
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

ES_PC_TARGET ES_PC_INLINE vector zero(void)
{
    return _mm512_setzero_si512();
}

ES_PC_TARGET ES_PC_INLINE vector broadcast(const uint8_t *four)
{
    return _mm512_set1_epi32(es_pc_word(four));
}

ES_PC_TARGET ES_PC_INLINE vector load(const uint8_t *weights)
{
    return _mm512_load_si512((const void *)weights);
}

ES_PC_TARGET ES_PC_INLINE vector multiply_add_groups(vector sum, vector given, vector weight)
{
    return _mm512_dpbusd_epi32(sum, given, weight);
}

ES_PC_TARGET ES_PC_INLINE void store(int32_t *sums, vector sum)
{
    _mm512_storeu_si512((void *)sums, sum);
}

#include "es_pc_kernels.h"
#endif
