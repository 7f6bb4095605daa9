/* What every processor of its kind has: SSE2 on x86-64, NEON on aarch64, plain C elsewhere. */
#include "es_pc_paths.h"

#define ES_PC_TABLE es_pc_baseline
#define ES_PC_TARGET

enum { GROUP = 2, LOWEST = 0, VECTORS = 4, WIDE_BLOCKS = 1, WIDE_PIXELS = 2, NARROW_PIXELS = 2, FEW_PIXELS = 1 };

static bool is_available(void)
{
    return true;
}

#if defined(ES_PC_X86)
#include <emmintrin.h>

#define ES_PC_NAME "sse2"
#define DENSE_NANOSECONDS 1.6
#define SCATTER_NANOSECONDS 0.15

typedef __m128i vector;

ES_PC_INLINE vector broadcast(const void *four)
{
    return _mm_set1_epi32(es_pc_word(four));
}

ES_PC_INLINE vector load(const void *numbers)
{
    return _mm_loadu_si128((const __m128i *)numbers);
}

ES_PC_INLINE void store(void *numbers, vector given)
{
    _mm_storeu_si128((__m128i *)numbers, given);
}

ES_PC_INLINE vector add(vector a, vector b)
{
    return _mm_add_epi32(a, b);
}

ES_PC_INLINE vector zero(void)
{
    return _mm_setzero_si128();
}

ES_PC_INLINE void add_all_paired(uint32_t *words, vector sums)
{
    vector folded = _mm_add_epi64(sums, _mm_slli_epi64(_mm_srli_epi64(sums, 32), 16));
    vector even = _mm_shuffle_epi32(folded, _MM_SHUFFLE(2, 0, 2, 0));
    __m128i *to = (__m128i *)(void *)words;

    _mm_storel_epi64(to, _mm_add_epi32(_mm_loadl_epi64(to), even));
}

ES_PC_INLINE vector interleave_low(vector a, vector b)
{
    return _mm_unpacklo_epi16(a, b);
}

ES_PC_INLINE vector interleave_high(vector a, vector b)
{
    return _mm_unpackhi_epi16(a, b);
}

#define untangle(low, high) (void)0 /* in order already */

ES_PC_INLINE vector multiply_add_pairs(vector sum, vector given, vector weight)
{
    return _mm_add_epi32(sum, _mm_madd_epi16(given, weight));
}

#elif defined(__aarch64__)
#include "es_pc_neon.h"

#define ES_PC_NAME "neon"
#define DENSE_NANOSECONDS 1.6
#define SCATTER_NANOSECONDS 0.15

#else

#define ES_PC_NAME "c"
#define DENSE_NANOSECONDS 6.0
#define SCATTER_NANOSECONDS 0.8

typedef struct vector {
    uint32_t lanes[4];
} vector;

ES_PC_INLINE vector load(const void *numbers)
{
    vector loaded;
    memcpy(&loaded, numbers, sizeof loaded);
    return loaded;
}

ES_PC_INLINE void store(void *numbers, vector given)
{
    memcpy(numbers, &given, sizeof given);
}

ES_PC_INLINE vector broadcast(const void *four)
{
    uint32_t word = (uint32_t)es_pc_word(four);
    vector given = {{word, word, word, word}};
    return given;
}

ES_PC_INLINE vector zero(void)
{
    vector none = {{0, 0, 0, 0}};
    return none;
}

ES_PC_INLINE void add_all_paired(uint32_t *words, vector sums)
{
    for (uint32_t i = 0; i < 2; i++)
        words[i] += sums.lanes[2 * i] + (sums.lanes[2 * i + 1] << 16);
}

ES_PC_INLINE vector add(vector a, vector b)
{
    for (uint32_t i = 0; i < 4; i++)
        a.lanes[i] += b.lanes[i];
    return a;
}

ES_PC_INLINE vector interleave_low(vector a, vector b)
{
    int16_t given[2][8], mixed[8];

    memcpy(given[0], &a, sizeof given[0]);
    memcpy(given[1], &b, sizeof given[1]);
    for (uint32_t i = 0; i < 8; i++)
        mixed[i] = given[i % 2][i / 2];
    return load(mixed);
}

ES_PC_INLINE vector interleave_high(vector a, vector b)
{
    vector upper[2] = {{{a.lanes[2], a.lanes[3], 0, 0}}, {{b.lanes[2], b.lanes[3], 0, 0}}};

    return interleave_low(upper[0], upper[1]);
}

#define untangle(low, high) (void)0 /* in order already */

ES_PC_INLINE vector multiply_add_pairs(vector sum, vector given, vector weight)
{
    int16_t values[8];
    int16_t weights[8];

    memcpy(values, &given, sizeof values);
    memcpy(weights, &weight, sizeof weights);
    for (uint32_t i = 0; i < 4; i++)
        sum.lanes[i] += (uint32_t)(values[2 * i] * weights[2 * i]) + (uint32_t)(values[2 * i + 1] * weights[2 * i + 1]);
    return sum;
}
#endif

#define multiply_add_groups multiply_add_pairs

#include "es_pc_some.h"
#include "es_pc_paired.h"

#include "es_pc_kernels.h"
