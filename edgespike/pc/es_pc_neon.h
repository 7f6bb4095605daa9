/* What NEON does with four numbers, for the tables of aarch64. */
#include <arm_neon.h>

typedef int32x4_t vector;

ES_PC_TARGET ES_PC_INLINE vector broadcast(const void *four)
{
    return vdupq_n_s32(es_pc_word(four));
}

ES_PC_TARGET ES_PC_INLINE vector load(const void *numbers)
{
    return vreinterpretq_s32_u8(vld1q_u8((const uint8_t *)numbers));
}

ES_PC_TARGET ES_PC_INLINE void store(void *numbers, vector given)
{
    vst1q_u8((uint8_t *)numbers, vreinterpretq_u8_s32(given));
}

ES_PC_TARGET ES_PC_INLINE vector add(vector a, vector b)
{
    return vaddq_s32(a, b);
}

ES_PC_TARGET ES_PC_INLINE vector zero(void)
{
    return vdupq_n_s32(0);
}

ES_PC_TARGET ES_PC_INLINE void add_all_paired(uint32_t *words, vector sums)
{
    uint32x4_t given = vreinterpretq_u32_s32(sums);
    uint32x4_t even = vuzp1q_u32(given, given), odd = vuzp2q_u32(given, given);
    uint32x2_t folded = vget_low_u32(vaddq_u32(even, vshlq_n_u32(odd, 16)));

    vst1_u32(words, vadd_u32(vld1_u32(words), folded));
}

ES_PC_TARGET ES_PC_INLINE vector interleave_low(vector a, vector b)
{
    return vreinterpretq_s32_s16(vzip1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
}

ES_PC_TARGET ES_PC_INLINE vector interleave_high(vector a, vector b)
{
    return vreinterpretq_s32_s16(vzip2q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
}

#define untangle(low, high) (void)0 /* in order already */

ES_PC_TARGET ES_PC_INLINE vector multiply_add_pairs(vector sum, vector given, vector weight)
{
    int16x8_t values = vreinterpretq_s16_s32(given);
    int16x8_t weights = vreinterpretq_s16_s32(weight);
    int32x4_t low = vmull_s16(vget_low_s16(values), vget_low_s16(weights));

    return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(values, weights)));
}
