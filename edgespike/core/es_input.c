/* The input: levels that events change, spikes that pass, and the front end that
 * counts a sensor's events into levels. */
#include "es_internal.h"

static uint32_t stored_level(const es_net *net, const es_population *input, uint32_t neuron)
{
    return es_stored_level(es_buffer_of(net, 0, ES_LEVELS), input->level_bytes, neuron);
}

static void store_level(es_net *net, const es_population *input, uint32_t neuron, uint32_t stored)
{
    uint8_t *levels = es_buffer_of(net, 0, ES_LEVELS);

    if (input->level_bytes == 1)
        levels[neuron] = (uint8_t)stored;
    else
        ((uint16_t *)(void *)levels)[neuron] = (uint16_t)stored;
}

int32_t es_input_level(const es_model *model, uint32_t channel, uint32_t stored)
{
    if (model->input->counts_events)
        return es_input_table(model)[channel * (model->input->saturation + 1u) + stored];
    return model->populations[0].level_min + (int32_t)stored;
}

/* The channel of population 0 that an event changes. */
static uint32_t channel_of(const es_net *net, const es_event *event)
{
    const es_input *input = net->model->input;

    if (!input->counts_events)
        return event->channel;
    return (event->tick - net->window_start) / input->slice_ticks * input->polarities +
           (input->polarities == 2 ? event->channel : 0u);
}

static uint32_t neuron_of(const es_net *net, const es_event *event)
{
    const es_population *input = &net->model->populations[0];

    return ((uint32_t)event->y * input->width + event->x) * input->channels + channel_of(net, event);
}

bool es_input_contains(const es_model *model, const es_event *event)
{
    const es_population *input = &model->populations[0];

    return event->y < input->height && event->x < input->width &&
           event->channel < (model->input->counts_events ? 2u : input->channels);
}

static uint32_t magnitude(int32_t value)
{
    return value < 0 ? (uint32_t)-value : (uint32_t)value;
}

int es_input_check(const es_net *net, const es_event *event)
{
    const es_population *input = &net->model->populations[0];

    if (net->model->input->counts_events)
        return event->value >= 1 ? ES_OK : ES_ERR_VALUE;
    if (input->kind == ES_LEVEL_INPUT) {
        int32_t level = es_input_level(net->model, event->channel,
                                       stored_level(net, input, neuron_of(net, event))) + event->value;
        return level >= input->level_min && level <= input->level_max ? ES_OK : ES_ERR_VALUE;
    }
    if (event->value < input->level_min || event->value > input->level_max)
        return ES_ERR_VALUE;
    /* What earlier ticks brought does not count against this one. */
    if (magnitude(event->value) > input->budget - (event->tick == net->tick ? net->tick_input : 0))
        return ES_ERR_TICK_FULL;
    return ES_OK;
}

/* Changes the stored level of a neuron and returns by how much its level changed. */
static int32_t change_level(es_net *net, const es_event *event, uint32_t channel)
{
    const es_population *input = &net->model->populations[0];
    uint32_t neuron = neuron_of(net, event);
    uint32_t before = stored_level(net, input, neuron);
    int32_t sum = (int32_t)before + event->value; /* checked: not negative */
    uint32_t after = (uint32_t)sum;

    if (net->model->input->counts_events && after > net->model->input->saturation)
        after = net->model->input->saturation;
    store_level(net, input, neuron, after);
    return es_input_level(net->model, channel, after) - es_input_level(net->model, channel, before);
}

void es_input_take(es_net *net, const es_event *event, const es_route *route)
{
    es_pixel_events changed;
    uint32_t channel = channel_of(net, event);

    if (net->model->populations[0].kind == ES_SPIKE_INPUT) {
        changed.values[0] = event->value;
        net->tick_input += magnitude(event->value);
    } else {
        changed.values[0] = change_level(net, event, channel);
    }
    if (changed.values[0] != 0) {
        changed.y = event->y;
        changed.x = event->x;
        changed.count = 1;
        changed.channels[0] = (uint16_t)channel;
        if (ES_WITH_SPEED && route)
            es_count(net, 0, 1, es_project_along(net, route, &changed));
        else
            es_project(net, 0, &changed);
    }
    net->stats.input_events++;
}
