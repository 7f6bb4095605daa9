/* Initial state: tables that store rows and columns that are alike once. */
#include "es_internal.h"

es_initial es_initial_of(const es_model *model, const es_population *population)
{
    es_initial initial;
    uint32_t neurons;

    initial.table = model->initial + population->initial_offset;
    initial.rows = (const uint16_t *)(const void *)initial.table + 2;
    initial.columns = initial.rows + population->height;
    initial.row_count = initial.rows[-2];
    initial.column_count = initial.rows[-1];
    neurons = initial.row_count * initial.column_count * population->channels;
    initial.accumulators = es_round_up(4u + 2u * ((uint32_t)population->height + population->width));
    initial.levels = initial.accumulators + neurons * population->accumulator_bytes;
    if (es_has_levels(population))
        initial.levels = es_round_up(initial.levels);
    initial.size = initial.levels + neurons * population->level_bytes;
    return initial;
}

/* Rows that are alike are copied from the one above: few different ones are put together. */
static void spread(const es_population *population, const es_initial *initial, uint32_t offset,
                   uint32_t value_bytes, uint8_t *buffer)
{
    const uint8_t *values = initial->table + offset;
    uint32_t pixel_bytes = population->channels * value_bytes, row_bytes = population->width * pixel_bytes;

    for (uint32_t y = 0; y < population->height; y++, buffer += row_bytes) {
        if (y > 0 && initial->rows[y] == initial->rows[y - 1]) {
            es_copy(buffer, buffer - row_bytes, row_bytes);
            continue;
        }
        for (uint32_t x = 0; x < population->width; x++) {
            uint32_t index = es_initial_index(initial, y, x, population->channels);
            es_copy(buffer + x * pixel_bytes, values + index * value_bytes, pixel_bytes);
        }
    }
}

void es_initial_spread_accumulators(const es_model *model, const es_population *population, uint8_t *buffer)
{
    es_initial initial = es_initial_of(model, population);
    spread(population, &initial, initial.accumulators, population->accumulator_bytes, buffer);
}

void es_initial_spread_levels(const es_model *model, const es_population *population, uint8_t *buffer)
{
    es_initial initial = es_initial_of(model, population);
    spread(population, &initial, initial.levels, population->level_bytes, buffer);
}
