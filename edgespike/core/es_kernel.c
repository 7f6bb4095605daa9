/* The inner loops: pure functions over the caller's buffers. Sums are unsigned,
 * so that a model whose overflow proof lies wraps around and does nothing worse. */
#include "es_internal.h"

/* A product of 8 and 16 bits in 32: compilers have vector instructions for it. */
static inline uint32_t product(int8_t weight, uint32_t value)
{
    return (uint32_t)((int16_t)weight * (int16_t)value);
}

static inline void add_one_32(uint32_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                              uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        accumulators[i] += product(weights[i], value);
}

/* Two events at once read and write the accumulators half as often. */
static inline void add_two_32(uint32_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                              const int8_t *restrict weights_2, uint32_t value_2, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        accumulators[i] += product(weights[i], value) + product(weights_2[i], value_2);
}

void es_add_vectors_32(uint32_t *accumulators, const int8_t *weights, const es_term *terms,
                       uint32_t term_count, uint32_t length)
{
    uint32_t i = 0;

    for (; i + 1 < term_count; i += 2)
        add_two_32(accumulators, weights + terms[i].vector, terms[i].value, weights + terms[i + 1].vector,
                   terms[i + 1].value, length);
    if (i < term_count)
        add_one_32(accumulators, weights + terms[i].vector, terms[i].value, length);
}

static inline void add_one_16(uint16_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                              uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        accumulators[i] = (uint16_t)(accumulators[i] + product(weights[i], value));
}

static inline void add_two_16(uint16_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                              const int8_t *restrict weights_2, uint32_t value_2, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        accumulators[i] =
            (uint16_t)(accumulators[i] + product(weights[i], value) + product(weights_2[i], value_2));
}

void es_add_vectors_16(uint16_t *accumulators, const int8_t *weights, const es_term *terms,
                       uint32_t term_count, uint32_t length)
{
    uint32_t i = 0;

    for (; i + 1 < term_count; i += 2)
        add_two_16(accumulators, weights + terms[i].vector, terms[i].value, weights + terms[i + 1].vector,
                   terms[i + 1].value, length);
    if (i < term_count)
        add_one_16(accumulators, weights + terms[i].vector, terms[i].value, length);
}

void es_add_wide_vectors_32(uint32_t *restrict accumulators, const int8_t *restrict weights,
                            const es_term *restrict terms, uint32_t term_count, uint32_t length)
{
    for (uint32_t i = 0; i < term_count; i++)
        for (uint32_t j = 0; j < length; j++)
            accumulators[j] += (uint32_t)weights[terms[i].vector + j] * terms[i].value;
}

/* Weights of 4 bits: the half of a byte that lies below the sign after a shift by `up`. */
static inline uint32_t half_product(int8_t pair, uint32_t up, uint32_t value)
{
    return (uint32_t)((int8_t)((uint32_t)pair << up) >> 4) * value;
}

static inline void add_half_32(uint32_t *restrict accumulators, const int8_t *restrict pairs, uint32_t up,
                               uint32_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        accumulators[i] += half_product(pairs[i], up, value);
}

void es_add_halves_32(uint32_t *accumulators, const int8_t *weights, const es_term *terms,
                      uint32_t term_count, uint32_t length)
{
    uint32_t half = (length + 1) / 2;

    for (uint32_t i = 0; i < term_count; i++) {
        add_half_32(accumulators, weights + terms[i].vector, 4, terms[i].value, half);
        add_half_32(accumulators + half, weights + terms[i].vector, 0, terms[i].value, length - half);
    }
}

static inline void add_half_16(uint16_t *restrict accumulators, const int8_t *restrict pairs, uint32_t up,
                               uint32_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        accumulators[i] = (uint16_t)(accumulators[i] + half_product(pairs[i], up, value));
}

void es_add_halves_16(uint16_t *accumulators, const int8_t *weights, const es_term *terms,
                      uint32_t term_count, uint32_t length)
{
    uint32_t half = (length + 1) / 2;

    for (uint32_t i = 0; i < term_count; i++) {
        add_half_16(accumulators, weights + terms[i].vector, 4, terms[i].value, half);
        add_half_16(accumulators + half, weights + terms[i].vector, 0, terms[i].value, length - half);
    }
}

void es_maximum_8(uint16_t *restrict maxima, const uint8_t *restrict values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        maxima[i] = values[i] > maxima[i] ? values[i] : maxima[i];
}

void es_maximum_16(uint16_t *restrict maxima, const uint16_t *restrict values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        maxima[i] = values[i] > maxima[i] ? values[i] : maxima[i];
}
