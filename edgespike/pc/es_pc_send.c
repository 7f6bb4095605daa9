/* How what changed in a population goes to its targets. */
#include "es_pc.h"

/* ---- counting -------------------------------------------------------------- */

/* Targets that what changed reaches through a projection. */
static uint64_t reached_by(const es_net *net, uint32_t number)
{
    const es_projection *projection = &net->model->projections[number];
    const es_pc_projection *plan = &net->pc->plan->projections[number];
    const es_population *source = &net->model->populations[projection->source];
    uint32_t channels = source->channels;
    uint64_t reached = 0;

    for (uint32_t y = 0; y < source->height; y++) {
        const es_pc_row *row = &net->pc->rows[y];
        uint64_t across;
        if (row->first >= row->end)
            continue;
        if (plan->flat)
            across = row->changed;
        else if (!plan->reached)
            across = (uint64_t)plan->down[y].count * plan->across[0].count * row->changed;
        else
            across = plan->down[y].count *
                     net->pc->plan->kernels->reach(
                         net->pc->differences + ((size_t)y * source->width + row->first) * channels,
                         plan->reached + (size_t)row->first * channels, (row->end - row->first) * channels);
        reached += across * plan->length;
    }
    return reached;
}

static void count_sent(es_net *net, uint32_t number, uint32_t count)
{
    const es_population *source = &net->model->populations[number];
    es_population_stats *stats = es_stats_of(net, number);
    uint64_t reached = 0;

    for (uint32_t i = 0; i < source->projection_count; i++)
        reached += reached_by(net, source->first_projection + i);
    stats->events += count;
    stats->synops += reached;
    net->stats.events += count;
    net->stats.synops += reached;
}

/* ---- by the core ------------------------------------------------------------ */

static void project_pixel(es_net *net, uint32_t number, const int16_t *differences, uint32_t y, uint32_t x)
{
    uint32_t channels = net->model->populations[number].channels;
    es_pixel_events events;

    events.y = y;
    events.x = x;
    events.count = 0;
    for (uint32_t channel = 0; channel < channels; channel++) {
        if (differences[channel] != 0) {
            events.channels[events.count] = (uint16_t)channel;
            events.values[events.count] = differences[channel];
            events.count++;
        }
        if (events.count == ES_GROUP || (channel + 1 == channels && events.count > 0)) {
            es_project(net, number, &events);
            events.count = 0;
        }
    }
}

static void project_all(es_net *net, uint32_t number)
{
    const es_population *source = &net->model->populations[number];

    for (uint32_t y = 0; y < source->height; y++)
        for (uint32_t x = net->pc->rows[y].first; x < net->pc->rows[y].end; x++)
            project_pixel(net, number, net->pc->differences + ((size_t)y * source->width + x) * source->channels, y, x);
}

/* ---- the choice ------------------------------------------------------------- */

/* Pixels from the first to the last that changed in each row. */
static uint32_t count_pixels(const es_net *net, uint32_t number)
{
    uint32_t pixels = 0;

    for (uint32_t y = 0; y < net->model->populations[number].height; y++)
        if (net->pc->rows[y].first < net->pc->rows[y].end)
            pixels += net->pc->rows[y].end - net->pc->rows[y].first;
    return pixels;
}

/* Finds what a dense pass would reach, unless it is too dear anyway. Events lie in `pixels` pixels at most. */
static bool is_dense_cheaper(const es_net *net, uint32_t number, uint32_t events, uint32_t pixels)
{
    const es_pc_projection *plan = &net->pc->plan->projections[number];
    double singly = plan->by_event * events + plan->by_changed_pixel * (pixels < events ? pixels : events);
    double budget = net->pc->eagerness * singly - plan->fixed;

    return budget > 0.0 && plan->by_pixel * es_pc_find_reached(net, number) < budget;
}

static void send(es_net *net, uint32_t number, es_pc_change change)
{
    const es_population *source = &net->model->populations[number];
    uint32_t end = (uint32_t)source->first_projection + source->projection_count;
    uint32_t pixels = count_pixels(net, number);

    for (uint32_t i = source->first_projection; i < end; i++) {
        if (net->pc->plan->projections[i].way == ES_PC_MARK) {
            es_pc_find_reached(net, i);
            es_pc_pass(net, i, change);
        } else if (is_dense_cheaper(net, i, change.count, pixels)) {
            es_pc_pass(net, i, change);
            net->pc->dense_passes++;
        } else {
            es_pc_scatter(net, i);
        }
    }
    net->pending = true;
}

void es_pc_send(es_net *net, uint32_t number, es_pc_change change, bool counted)
{
    const es_population *source = &net->model->populations[number];

    if (change.count != 0 && net->pc->plan->populations[number].sent) {
        if (!counted)
            count_sent(net, number, change.count);
        send(net, number, change);
    } else if (change.count != 0) {
        project_all(net, number);
    }
    for (uint32_t y = 0; y < source->height; y++) {
        es_pc_row *row = &net->pc->rows[y];
        if (row->first < row->end)
            memset(net->pc->differences + ((size_t)y * source->width + row->first) * source->channels, 0,
                   (size_t)(row->end - row->first) * source->channels * sizeof *net->pc->differences);
        row->first = UINT32_MAX;
        row->end = 0;
    }
}
