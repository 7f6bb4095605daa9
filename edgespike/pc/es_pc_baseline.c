/* What every processor of its kind has: SSE2 on x86-64, NEON on aarch64, plain C elsewhere. */
#include "es_pc_paths.h"

#define ES_PC_TABLE es_pc_baseline
#define ES_PC_TARGET

enum { GROUP = 2, LOWEST = 0, VECTORS = 4, WIDE_BLOCKS = 1, WIDE_PIXELS = 2, NARROW_PIXELS = 2 };

static bool is_available(void)
{
    return true;
}

#if defined(ES_PC_X86)
#include <emmintrin.h>

#define ES_PC_NAME "sse2"
#define DENSE_NANOSECONDS 1.6

typedef __m128i vector;

ES_PC_INLINE vector zero(void)
{
    return _mm_setzero_si128();
}

ES_PC_INLINE vector broadcast(const uint8_t *four)
{
    return _mm_set1_epi32(es_pc_word(four));
}

ES_PC_INLINE vector load(const uint8_t *weights)
{
    return _mm_load_si128((const __m128i *)(const void *)weights);
}

ES_PC_INLINE vector multiply_add_groups(vector sum, vector given, vector weight)
{
    return _mm_add_epi32(sum, _mm_madd_epi16(given, weight));
}

ES_PC_INLINE void store(int32_t *sums, vector sum)
{
    _mm_storeu_si128((__m128i *)(void *)sums, sum);
}

#elif defined(__aarch64__)
#include <arm_neon.h>

#define ES_PC_NAME "neon"
#define DENSE_NANOSECONDS 1.6

typedef int32x4_t vector;

ES_PC_INLINE vector zero(void)
{
    return vdupq_n_s32(0);
}

ES_PC_INLINE vector broadcast(const uint8_t *four)
{
    return vdupq_n_s32(es_pc_word(four));
}

ES_PC_INLINE vector load(const uint8_t *weights)
{
    return vreinterpretq_s32_u8(vld1q_u8(weights));
}

ES_PC_INLINE vector multiply_add_groups(vector sum, vector given, vector weight)
{
    int16x8_t values = vreinterpretq_s16_s32(given);
    int16x8_t weights = vreinterpretq_s16_s32(weight);
    int32x4_t low = vmull_s16(vget_low_s16(values), vget_low_s16(weights));

    return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(values, weights)));
}

ES_PC_INLINE void store(int32_t *sums, vector sum)
{
    vst1q_s32(sums, sum);
}

#else

#define ES_PC_NAME "c"
#define DENSE_NANOSECONDS 6.0

typedef struct vector {
    int32_t lanes[4];
} vector;

ES_PC_INLINE vector zero(void)
{
    vector sum = {{0, 0, 0, 0}};
    return sum;
}

ES_PC_INLINE vector load(const uint8_t *weights)
{
    vector loaded;
    memcpy(&loaded, weights, sizeof loaded);
    return loaded;
}

ES_PC_INLINE vector broadcast(const uint8_t *four)
{
    int32_t word = es_pc_word(four);
    vector given = {{word, word, word, word}};
    return given;
}

ES_PC_INLINE vector multiply_add_groups(vector sum, vector given, vector weight)
{
    int16_t values[8];
    int16_t weights[8];

    memcpy(values, &given, sizeof values);
    memcpy(weights, &weight, sizeof weights);
    for (uint32_t i = 0; i < 4; i++)
        sum.lanes[i] += values[2 * i] * weights[2 * i] + values[2 * i + 1] * weights[2 * i + 1];
    return sum;
}

ES_PC_INLINE void store(int32_t *sums, vector sum)
{
    memcpy(sums, &sum, sizeof sum);
}
#endif

#include "es_pc_kernels.h"
