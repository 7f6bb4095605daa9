/* The inner loops: pure functions over the caller's buffers. Sums are unsigned,
 * so that a model whose overflow proof lies wraps around and does nothing worse. */
#include "es_internal.h"

void es_add_weights_32(uint32_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        accumulators[i] += (uint32_t)weights[i] * value;
}

void es_add_weights_16(uint16_t *restrict accumulators, const int8_t *restrict weights, uint32_t value,
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        accumulators[i] = (uint16_t)(accumulators[i] + (uint32_t)weights[i] * value);
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
