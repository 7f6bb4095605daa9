/* The tables of kernels, and what their files share. */
#ifndef ES_PC_PATHS_H
#define ES_PC_PATHS_H

#include "es_pc.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define ES_PC_X86
#endif
#if defined(__aarch64__) && defined(__linux__) && defined(__GNUC__)
#define ES_PC_DOTPROD
#endif

#if defined(__GNUC__)
#define ES_PC_INLINE static inline __attribute__((always_inline))
#else
#define ES_PC_INLINE static inline
#endif

extern const es_pc_kernels es_pc_vnni, es_pc_avx2, es_pc_dotprod, es_pc_baseline;

ES_PC_INLINE int32_t es_pc_word(const void *bytes)
{
    int32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

#endif
