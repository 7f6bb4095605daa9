/* aarch64 with dot products of bytes. */
#include "es_pc_paths.h"

#ifdef ES_PC_DOTPROD
#include <sys/auxv.h>

#define ES_PC_NAME "dotprod"
#define ES_PC_TABLE es_pc_dotprod
#define ES_PC_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))

#include "es_pc_neon.h"

enum { GROUP = 4, LOWEST = -128, VECTORS = 4, WIDE_BLOCKS = 1, WIDE_PIXELS = 4, NARROW_PIXELS = 4, FEW_PIXELS = 2 };
#define DENSE_NANOSECONDS 0.8
#define SCATTER_NANOSECONDS 0.15

enum { HAS_DOTPROD = 1 << 20 }; /* of AT_HWCAP, in Linux */

static bool is_available(void)
{
    return (getauxval(AT_HWCAP) & HAS_DOTPROD) != 0;
}

ES_PC_TARGET ES_PC_INLINE vector multiply_add_groups(vector sum, vector given, vector weight)
{
    return vdotq_s32(sum, vreinterpretq_s8_s32(given), vreinterpretq_s8_s32(weight));
}

#include "es_pc_some.h"
#include "es_pc_paired.h"

#include "es_pc_kernels.h"
#endif
