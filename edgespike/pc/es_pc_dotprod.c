/* aarch64 with dot products of bytes. */
#include "es_pc_paths.h"

#ifdef ES_PC_DOTPROD
#include <arm_neon.h>
#include <sys/auxv.h>

#define ES_PC_NAME "dotprod"
#define ES_PC_TABLE es_pc_dotprod
#define ES_PC_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))

enum { GROUP = 4, LOWEST = -128, VECTORS = 4, WIDE_BLOCKS = 1, WIDE_PIXELS = 4, NARROW_PIXELS = 4 };
#define DENSE_NANOSECONDS 0.8

enum { HAS_DOTPROD = 1 << 20 }; /* of AT_HWCAP, in Linux */

typedef int32x4_t vector;

static bool is_available(void)
{
    return (getauxval(AT_HWCAP) & HAS_DOTPROD) != 0;
}

ES_PC_TARGET ES_PC_INLINE vector zero(void)
{
    return vdupq_n_s32(0);
}

ES_PC_TARGET ES_PC_INLINE vector broadcast(const uint8_t *four)
{
    return vdupq_n_s32(es_pc_word(four));
}

ES_PC_TARGET ES_PC_INLINE vector load(const uint8_t *weights)
{
    return vreinterpretq_s32_u8(vld1q_u8(weights));
}

ES_PC_TARGET ES_PC_INLINE vector multiply_add_groups(vector sum, vector given, vector weight)
{
    return vdotq_s32(sum, vreinterpretq_s8_s32(given), vreinterpretq_s8_s32(weight));
}

ES_PC_TARGET ES_PC_INLINE void store(int32_t *sums, vector sum)
{
    vst1q_s32(sums, sum);
}

#include "es_pc_kernels.h"
#endif
