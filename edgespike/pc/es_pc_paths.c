/* Which tables this build has. */
#include "es_pc_paths.h"

const es_pc_kernels *const es_pc_paths[] = {
#ifdef ES_PC_X86
    &es_pc_vnni,
    &es_pc_avx2,
#endif
#ifdef ES_PC_DOTPROD
    &es_pc_dotprod,
#endif
    &es_pc_baseline,
    NULL,
};
