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

ES_PC_TARGET ES_PC_INLINE vector multiply_add_pairs(vector sum, vector given, vector weight)
{
    int16x8_t values = vreinterpretq_s16_s32(given);
    int16x8_t weights = vreinterpretq_s16_s32(weight);
    int32x4_t low = vmull_s16(vget_low_s16(values), vget_low_s16(weights));

    return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(values, weights)));
}
