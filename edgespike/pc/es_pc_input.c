/* Input: the events of one tick together. */
#include "es_pc.h"

/* Whether the input's levels have a byte, and its targets are reached in bulk. */
static bool is_taken(const es_net *net)
{
    const es_population *input = &net->model->populations[0];

    return net->pc && !es_is_one_shot(net) && net->pc->plan->populations[0].sent && input->kind == ES_LEVEL_INPUT &&
           input->level_bytes == 1 && input->level_max - input->level_min <= 255;
}

/* es_input.c for many events of one tick: the same checks and changes, with all that they look up kept at hand. */
typedef struct es_pc_input {
    uint8_t *levels;
    int16_t *differences;
    es_pc_row *rows;
    const es_pc_projection *projections;
    uint32_t projection_count;
    uint32_t height, width, channels;
    uint32_t event_channels; /* that events may have */
    int32_t greatest;        /* stored level, or count */
    const int16_t *counts;   /* of the tick's slice, the levels of counts by polarity; NULL: no counts */
    uint32_t count_row;      /* from one polarity's to the next; 0: both are one */
    uint32_t first_channel;  /* of the slice */
} es_pc_input;

static es_pc_input input_of(const es_net *net)
{
    const es_input *spec = net->model->input;
    const es_population *population = &net->model->populations[0];
    es_pc_input input;

    input.levels = es_buffer_of(net, 0, ES_LEVELS);
    input.differences = net->pc->differences;
    input.rows = net->pc->rows;
    input.projections = net->pc->plan->projections + population->first_projection;
    input.projection_count = population->projection_count;
    input.height = population->height;
    input.width = population->width;
    input.channels = population->channels;
    input.event_channels = spec->counts_events ? 2 : population->channels;
    input.greatest = spec->counts_events ? spec->saturation : population->level_max - population->level_min;
    input.counts = NULL;
    input.count_row = spec->counts_events && spec->polarities == 2 ? spec->saturation + 1u : 0;
    input.first_channel = 0;
    if (spec->counts_events) {
        input.first_channel = (net->tick - net->window_start) / spec->slice_ticks * spec->polarities;
        input.counts = es_input_table(net->model) + (size_t)input.first_channel * (spec->saturation + 1u);
    }
    return input;
}

/* Changes an input neuron. Returns whether the event is valid. */
static inline bool note(const es_pc_input *input, const es_event *event, uint32_t *neuron, int32_t *difference)
{
    uint32_t channel = event->channel;
    int32_t before, after;

    if (event->y >= input->height || event->x >= input->width || channel >= input->event_channels)
        return false;
    if (input->counts)
        channel = input->first_channel + (input->count_row ? channel : 0);
    *neuron = (event->y * input->width + event->x) * input->channels + channel;
    before = input->levels[*neuron];
    after = before + event->value;
    if (input->counts) {
        const int16_t *levels = input->counts + (size_t)event->channel * input->count_row;
        if (event->value < 1)
            return false;
        after = after < input->greatest ? after : input->greatest;
        *difference = levels[after] - levels[before];
    } else {
        if (after < 0 || after > input->greatest)
            return false;
        *difference = event->value;
    }
    input->levels[*neuron] = (uint8_t)after;
    return true;
}

/* Targets that an event of a pixel reaches. */
static inline uint32_t reached_from(const es_pc_input *input, uint32_t y, uint32_t x)
{
    const es_pc_projection *plan = input->projections;
    uint32_t reached = 0;

    for (uint32_t i = 0; i < input->projection_count; i++, plan++)
        reached += plan->length * (plan->flat ? 1 : plan->down[y].count * plan->across[x].count);
    return reached;
}

/* Changes the input by the valid events of a tick. Returns how many they are. */
static size_t note_all(const es_net *net, const es_event *events, size_t count, es_pc_change *changed,
                       uint64_t *reached)
{
    const es_pc_input input = input_of(net);
    const uint32_t tick = net->tick;
    es_pc_change change = {0, 0, 0};
    uint64_t targets = 0;
    size_t taken;

    for (taken = 0; taken < count && events[taken].tick == tick; taken++) {
        const es_event *event = &events[taken];
        uint32_t neuron;
        int32_t difference;
        if (!note(&input, event, &neuron, &difference))
            break;
        if (difference == 0)
            continue;
        change.count++;
        targets += reached_from(&input, event->y, event->x);
        difference += input.differences[neuron];
        input.differences[neuron] = (int16_t)difference;
        change.least = difference < change.least ? difference : change.least;
        change.greatest = difference > change.greatest ? difference : change.greatest;
        if (event->x < input.rows[event->y].first)
            input.rows[event->y].first = event->x;
        if (event->x >= input.rows[event->y].end)
            input.rows[event->y].end = event->x + 1u;
    }
    *changed = change;
    *reached = targets;
    return taken;
}

size_t es_pc_take(es_net *net, const es_event *events, size_t count)
{
    es_pc_change change;
    uint64_t reached;
    size_t taken;

    if (!is_taken(net))
        return 0;
    taken = note_all(net, events, count, &change, &reached);
    net->stats.input_events += taken;
    net->stats.events += change.count;
    net->stats.synops += reached;
    es_stats_of(net, 0)->events += change.count;
    es_stats_of(net, 0)->synops += reached;
    if (change.count != 0)
        es_pc_send(net, 0, change, true);
    return taken;
}
