/* Levels: what an accumulator means, one by one or four at a time. */
#include "es_internal.h"

/* The accumulator in whole steps: how far from `least`, and not beyond `greatest`. */
static uint32_t steps_from(int32_t least, int32_t greatest, int32_t shifted, int32_t step)
{
    int32_t steps;

    if (ES_WITH_SPEED && shifted < step && least == 0) /* most neurons are silent, and a division is slow */
        return 0;
    steps = shifted / step;
    if (steps * step > shifted)
        steps--;
    if (steps < least)
        return 0;
    return (uint32_t)((steps > greatest ? greatest : steps) - least);
}

static inline int32_t shifted_up(int32_t accumulator, uint32_t shift, int32_t step)
{
    return (int32_t)(((uint32_t)accumulator << shift) + (uint32_t)step / 2);
}

uint32_t es_level(const es_model *model, const es_population *population, uint32_t channel,
                  int32_t accumulator, int32_t step)
{
    int32_t shifted = shifted_up(accumulator, population->level_shift, step);
    const uint8_t *table = model->parameters + population->table_offset;
    uint32_t place;

    if (!es_has_table(population))
        return steps_from(population->level_min, population->level_max, shifted, step);
    place = steps_from(population->index_min, population->index_min + population->table_count - 1, shifted, step);
    if (population->flags & ES_FLAG_TABLE_BY_CHANNEL)
        place += channel * population->table_count;
    return es_stored_level(table, population->level_bytes, place);
}

/* ---- four at a time ---------------------------------------------------- */

#if ES_WITH_SPEED
static inline uint32_t quotient(int32_t shifted, int32_t step, int32_t greatest)
{
    int32_t steps;

    if (ES_SLOW_DIVISION && shifted < step)
        return 0;
    steps = shifted / step; /* rounded up where it is negative: 0 or less, as rounded down */
    if (steps < 0)
        steps = 0;
    return (uint32_t)(steps > greatest ? greatest : steps);
}

/* Four levels in the bytes of a word. */
static inline uint32_t four_levels(const uint32_t *words, const int32_t *steps, bool paired, uint32_t shift,
                                   int32_t greatest)
{
    int32_t a = (int32_t)words[0], b = (int32_t)words[1], c, d;

    if (paired) {
        c = (int16_t)b;
        d = (int32_t)((uint32_t)b + 0x8000u) >> 16;
        b = (int32_t)((uint32_t)a + 0x8000u) >> 16;
        a = (int16_t)a;
    } else {
        c = (int32_t)words[2];
        d = (int32_t)words[3];
    }
    return quotient(shifted_up(a, shift, steps[0]), steps[0], greatest) |
           quotient(shifted_up(b, shift, steps[1]), steps[1], greatest) << 8 |
           quotient(shifted_up(c, shift, steps[2]), steps[2], greatest) << 16 |
           quotient(shifted_up(d, shift, steps[3]), steps[3], greatest) << 24;
}

/* Four levels that are not what was told. */
typedef struct es_change {
    uint32_t place;
    uint32_t before;
    uint32_t now;
} es_change;

/* Lists what changed among neurons that lie together; returns the end of the list. */
static inline es_change *list_changes(es_change *change, const uint32_t *words, const int32_t *steps,
                                      const uint32_t *told, uint32_t count, bool paired, uint32_t shift,
                                      int32_t greatest)
{
    for (uint32_t place = 0; place < count; place += 4) {
        uint32_t now = four_levels(words, steps, paired, shift, greatest), before = *told++;
        if (now != before) {
            change->place = place;
            change->before = before;
            change->now = now;
            change++;
        }
        words += paired ? 2 : 4;
        steps += 4;
    }
    return change;
}

#define TELL_BYTE(byte)                                                                                    \
    if (((now ^ before) >> 8 * (byte) & 255) != 0) {                                                       \
        *channels++ = (uint16_t)(channel + (byte));                                                        \
        *values++ = (int32_t)(now >> 8 * (byte) & 255) - (int32_t)(before >> 8 * (byte) & 255);            \
    }

void es_tell_quotients(const es_quotients *group, uint32_t neuron, uint32_t first, uint32_t count,
                       const uint8_t *told_bytes, es_pixel_events *events)
{
    es_change changes[ES_GROUP / 4], *end;
    const uint32_t *told = (const uint32_t *)(const void *)told_bytes;
    const uint32_t *words = group->accumulators + (group->paired ? neuron / 2 : neuron);
    const int32_t *steps = group->steps + (group->by_channel ? first : neuron);
    uint32_t *kept = group->kept ? (uint32_t *)(void *)(group->kept + neuron) : NULL;
    uint32_t shift = group->shift;
    int32_t greatest = group->greatest;
    uint16_t *channels = events->channels;
    int32_t *values = events->values;

    if (shift == 0 && group->paired && greatest == 15)
        end = list_changes(changes, words, steps, told, count, true, 0, 15);
    else if (shift == 0 && group->paired)
        end = list_changes(changes, words, steps, told, count, true, 0, greatest);
    else if (shift == 0 && greatest == 255)
        end = list_changes(changes, words, steps, told, count, false, 0, 255);
    else
        end = list_changes(changes, words, steps, told, count, group->paired, shift, greatest);
    for (const es_change *change = changes; change < end; change++) {
        uint32_t now = change->now, before = change->before, channel = first + change->place;
        if (kept)
            kept[change->place / 4] = now;
        TELL_BYTE(0)
        TELL_BYTE(1)
        TELL_BYTE(2)
        TELL_BYTE(3)
    }
    events->count = (uint32_t)(values - events->values);
}
#endif
