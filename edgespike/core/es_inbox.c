/* What delayed projections have sent and has not arrived: by target and tick. */
#include "es_internal.h"

static uint32_t words_of(const es_population *population)
{
    return (es_pixel_count(population) + 31) / 32;
}

uint32_t es_inbox_slots(const es_model *model, uint32_t number)
{
    uint32_t slots = 1;

    for (uint32_t i = 0; ES_WITH_DELAYS && i < model->projection_count; i++)
        if (model->projections[i].target == number)
            while (slots <= model->projections[i].delay)
                slots *= 2;
    return slots > 1 ? slots : 0;
}

uint64_t es_inbox_bytes(const es_population *population, uint32_t slots)
{
    uint64_t touched = words_of(population) * sizeof(uint32_t);
    uint64_t values = (uint64_t)es_neuron_count(population) * population->accumulator_bytes;

    return slots == 0 ? 0 : sizeof(uint32_t) + slots * (touched + values);
}

void es_inbox_clear(const es_net *net, uint32_t number)
{
    uint32_t *inbox = (uint32_t *)(void *)es_buffer_of(net, number, ES_INBOX);
    uint32_t slots;

    if (!inbox)
        return;
    slots = es_inbox_slots(net->model, number);
    memset(inbox, 0, (size_t)es_inbox_bytes(&net->model->populations[number], slots));
    inbox[0] = slots;
}

es_inbox_slot es_inbox_slot_of(const es_net *net, uint32_t number, uint32_t delay)
{
    const es_population *population = &net->model->populations[number];
    uint32_t *inbox = (uint32_t *)(void *)es_buffer_of(net, number, ES_INBOX);
    uint32_t words = words_of(population);
    uint32_t number_of_slot = (net->tick + delay) & (inbox[0] - 1);
    size_t slot_bytes = (size_t)es_neuron_count(population) * population->accumulator_bytes;
    es_inbox_slot slot;

    slot.touched = inbox + 1 + (size_t)number_of_slot * words;
    slot.values = (uint8_t *)(inbox + 1 + (size_t)inbox[0] * words) + number_of_slot * slot_bytes;
    return slot;
}
