/* The arena's layout: docs/format.md, "The arena". Nothing here depends on the
 * width of a pointer, so that host and board agree to the byte. */
#include "es_internal.h"

static uint64_t round_up(uint64_t size)
{
    return (size + (ES_ALIGNMENT - 1)) & ~(uint64_t)(ES_ALIGNMENT - 1);
}

/* ---- buffers that keep their place ------------------------------------- */

typedef struct es_layout {
    uint64_t end;
    uint32_t *table; /* NULL: only measure */
} es_layout;

static void place(es_layout *layout, uint32_t number, es_buffer kind, uint64_t bytes)
{
    if (bytes == 0)
        return;
    if (layout->table)
        layout->table[ES_BUFFER_KINDS * number + kind] = (uint32_t)layout->end;
    layout->end = round_up(layout->end + bytes);
}

static void place_population(es_layout *layout, const es_model *model, es_plan plan, uint32_t number)
{
    const es_population *population = &model->populations[number];
    uint64_t pixels = es_pixel_count(population);
    uint64_t neurons = es_neuron_count(population);

    if (!es_is_input(population))
        place(layout, number, ES_TOUCHED, (pixels + 31) / 32 * sizeof(uint32_t));
    if (plan == ES_PLAN_STREAMING || es_is_input(population))
        place(layout, number, ES_LEVELS, neurons * population->level_bytes);
    if (plan == ES_PLAN_STREAMING)
        place(layout, number, ES_ACCUMULATORS, neurons * population->accumulator_bytes);
    if (es_has_stamps(population))
        place(layout, number, ES_STAMPS, pixels * sizeof(uint32_t));
    if (es_keeps_scores(model, number))
        place(layout, number, ES_SCORES, neurons * sizeof(int32_t));
    if (es_has_currents(population))
        place(layout, number, ES_CURRENTS, neurons * sizeof(int32_t));
    if (es_has_adaptation(population))
        place(layout, number, ES_ADAPTATION, neurons * sizeof(int32_t));
    if (population->refractory != 0)
        place(layout, number, ES_REFRACTORY, neurons * sizeof(uint16_t));
    place(layout, number, ES_INBOX, es_inbox_bytes(population, es_inbox_slots(model, number)));
}

uint64_t es_arena_fixed(const es_model *model, es_plan plan, uint32_t *table)
{
    uint64_t tables = ES_BUFFER_KINDS * sizeof(uint32_t) + sizeof(es_population_stats);
    es_layout layout;

    layout.table = table;
    layout.end = tables * model->population_count;
    for (uint32_t number = 0; number < model->population_count; number++)
        place_population(&layout, model, plan, number);
    return layout.end;
}

/* ---- buffers of the one-shot plan that share their place ---------------- */

static uint32_t last_reader(const es_model *model, uint32_t number)
{
    const es_population *population = &model->populations[number];
    uint32_t last = 0;

    for (uint32_t i = 0; i < population->projection_count; i++) {
        const es_projection *projection = &model->projections[population->first_projection + i];
        if (projection->kind == ES_MAX_POOL_WINDOW)
            last = projection->target; /* sorted by target */
    }
    return last;
}

/* While the plan is made, two columns of the table that it does not yet need
 * keep every population's first source and last reader. */
enum { FIRST_SOURCE = ES_STAMPS, LAST_READER = ES_TOUCHED };

/* A buffer and the steps between which it is in use. Slot 2 n holds the
 * accumulators of population n, slot 2 n + 1 its levels. */
typedef struct es_lifetime {
    uint32_t bytes; /* 0: there is no such buffer */
    uint32_t first;
    uint32_t last;
} es_lifetime;

static es_lifetime lifetime(const es_model *model, const uint32_t *table, uint32_t slot)
{
    uint32_t number = slot / 2;
    const es_population *population = &model->populations[number];
    const uint32_t *row = table + ES_BUFFER_KINDS * number;
    es_lifetime life = {0, 0, 0};

    if (slot % 2 == ES_ACCUMULATORS) {
        life.bytes = es_round_up(es_neuron_count(population) * population->accumulator_bytes);
        life.first = row[FIRST_SOURCE];
        life.last = number;
    } else if (row[LAST_READER] != 0) {
        life.bytes = es_round_up(es_neuron_count(population) * population->level_bytes);
        life.first = number;
        life.last = row[LAST_READER];
    }
    return life;
}

static uint32_t *slot_offset(uint32_t *table, uint32_t slot)
{
    return &table[ES_BUFFER_KINDS * (slot / 2) + slot % 2];
}

/* Moves `offset` behind the first buffer of a lower slot that it would overlap
 * in space and time. Returns whether there was one. */
static bool move_behind(const es_model *model, uint32_t *table, uint32_t slot, const es_lifetime *life,
                        uint64_t *offset)
{
    for (uint32_t i = 2; i < slot; i++) {
        es_lifetime other = lifetime(model, table, i);
        uint64_t start = *slot_offset(table, i);
        if (other.bytes != 0 && other.first <= life->last && life->first <= other.last &&
            start < *offset + life->bytes && *offset < start + other.bytes) {
            *offset = start + other.bytes;
            return true;
        }
    }
    return false;
}

uint64_t es_arena_one_shot(const es_model *model, uint32_t *table)
{
    uint64_t fixed = es_arena_fixed(model, ES_PLAN_ONE_SHOT, NULL);
    uint64_t end = fixed;

    for (uint32_t number = 1; number < model->population_count; number++) {
        table[ES_BUFFER_KINDS * number + FIRST_SOURCE] = es_first_incoming(model, number)->source;
        table[ES_BUFFER_KINDS * number + LAST_READER] = last_reader(model, number);
    }
    for (uint32_t slot = 2; slot < 2u * model->population_count && end <= UINT32_MAX; slot++) {
        es_lifetime life = lifetime(model, table, slot);
        uint64_t offset = fixed;
        if (life.bytes == 0)
            continue;
        while (move_behind(model, table, slot, &life, &offset))
            continue;
        *slot_offset(table, slot) = (uint32_t)offset;
        if (end < offset + life.bytes)
            end = offset + life.bytes;
    }
    for (uint32_t number = 1; number < model->population_count; number++)
        table[ES_BUFFER_KINDS * number + FIRST_SOURCE] = 0;
    es_arena_fixed(model, ES_PLAN_ONE_SHOT, table);
    return end;
}
