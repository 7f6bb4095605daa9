/* Whether the kernels in assembly and their twins in plain C give the same bits: every length, every
 * number of events, and nothing written outside. Prints how many sums were compared. */
#include <stdio.h>

/* The file twice: once as the processor has it, once in plain C. */
#include "es_internal.h"
#include "es_kernel.c"

enum { with_dsp = ES_WITH_DSP };
#undef ES_WITH_DSP
#undef fast_one_32
#undef fast_two_32
#undef add_fours
#define ES_WITH_DSP 0
#define product plain_product
#define add_one_32 plain_add_one_32
#define add_two_32 plain_add_two_32
#define weight_pair plain_weight_pair
#define word_of plain_word_of
#define add_rest plain_add_rest
#define add_pairs plain_add_pairs
#define lower plain_lower
#define upper plain_upper
#define es_add_vectors_32 plain_add_vectors_32
#define es_add_vectors_16 plain_add_vectors_16
#define es_add_words_16 plain_add_words_16
#define es_add_wide_vectors_32 plain_add_wide_vectors_32
#define es_add_halves_32 plain_add_halves_32
#define es_add_halves_16 plain_add_halves_16
#define es_copy plain_copy
#define es_maximum_8 plain_maximum_8
#define es_maximum_16 plain_maximum_16
#include "es_kernel.c"

enum { LONGEST = 140, TERMS = 5, GUARD = 8 };

static uint32_t state = 1;

static uint32_t draw(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static ES_ALIGNED int8_t weights[TERMS * (LONGEST + 4)];
static uint32_t before[LONGEST + GUARD], here[LONGEST + GUARD], plain[LONGEST + GUARD];

static void compare(uint32_t length, uint32_t count, uint32_t value_mask)
{
    es_term terms[TERMS];

    for (uint32_t i = 0; i < LONGEST + GUARD; i++)
        before[i] = draw() * 77777u;
    for (uint32_t i = 0; i < sizeof weights; i++)
        weights[i] = (int8_t)draw();
    for (uint32_t i = 0; i < count; i++) {
        terms[i].vector = draw() % TERMS * (LONGEST + 4);
        terms[i].value = (draw() & value_mask) - (value_mask >> 1);
    }
    memcpy(here, before, sizeof here);
    memcpy(plain, before, sizeof plain);
    es_add_vectors_32(here, weights, terms, count, length);
    plain_add_vectors_32(plain, weights, terms, count, length);
    es_add_vectors_16(here, weights, terms, count, length & ~1u);
    plain_add_vectors_16(plain, weights, terms, count, length & ~1u);
    for (uint32_t i = 0; i < count; i++) /* vectors of words begin at words, and take twice the bytes */
        terms[i].vector = draw() % (TERMS - 1) / 2 * 2 * (LONGEST + 4);
    es_add_words_16(here, weights, terms, count, length & ~1u);
    plain_add_words_16(plain, weights, terms, count, length & ~1u);
    if (memcmp(here, plain, sizeof here) != 0)
        printf("different: length %u, %u terms\n", (unsigned)length, (unsigned)count);
    if (memcmp(here + length, before + length, sizeof here - length * sizeof *here) != 0)
        printf("written behind the end: length %u, %u terms\n", (unsigned)length, (unsigned)count);
    memcpy(here, before, sizeof here);
    es_copy((uint8_t *)here, (const uint8_t *)plain, length);
    if (memcmp(here, plain, length) != 0 ||
        memcmp((uint8_t *)here + length, (uint8_t *)before + length, sizeof here - length) != 0)
        printf("not copied: %u bytes\n", (unsigned)length);
}

int main(void)
{
    uint32_t compared = 0;

    for (uint32_t length = 0; length <= LONGEST; length++)
        for (uint32_t count = 0; count <= TERMS; count++, compared++)
            compare(length, count, length % 2 ? 0xFFFFu : 0x1Fu);
    printf("%u compared, assembly %d\n", (unsigned)compared, with_dsp);
    return 0;
}
