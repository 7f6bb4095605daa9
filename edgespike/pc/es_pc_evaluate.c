/* Evaluates populations row by row, from the first pixel that was touched to the last: those between that
 * were not are at rest and do not change. */
#include "es_pc.h"

/* ---- what was touched ------------------------------------------------------- */

/* The first (last) touched pixel from `first` on, below (from) `end`; `end` (`first`) where there is none. */
static uint32_t first_touched(const uint32_t *touched, uint32_t first, uint32_t end)
{
    while (first < end) {
        uint32_t word = touched[first / 32] >> first % 32;
        if (word != 0) {
            for (; (word & 1) == 0; word >>= 1)
                first++;
            return first < end ? first : end;
        }
        first += 32 - first % 32;
    }
    return end;
}

static uint32_t end_touched(const uint32_t *touched, uint32_t first, uint32_t end)
{
    while (first < end) {
        uint32_t word = touched[(end - 1) / 32] << (31 - (end - 1) % 32);
        if (word != 0) {
            for (; word >> 31 == 0; word <<= 1)
                end--;
            return end > first ? end : first;
        }
        end = (end - 1) / 32 * 32;
    }
    return first;
}

/* ---- rows --------------------------------------------------------------------- */

static es_pc_change tell_row(const es_net *net, uint32_t number, size_t neuron, size_t in_row, uint32_t count)
{
    const es_pc *pc = net->pc;
    const es_population *population = &net->model->populations[number];
    const es_pc_population *plan = &pc->plan->populations[number];
    const uint32_t *words = (const uint32_t *)(const void *)es_buffer_of(net, number, ES_ACCUMULATORS);
    uint8_t *told = es_buffer_of(net, number, ES_LEVELS) + neuron;
    size_t parameters = plan->whole_rows ? in_row : neuron;
    es_pc_steps steps = plan->steps;

    steps.reciprocal += parameters;
    if (steps.quick) {
        steps.offset += parameters;
    } else {
        steps.step += parameters;
        steps.low += parameters;
        steps.high += parameters;
    }
    if (population->accumulator_bytes == 2)
        return pc->plan->kernels->tell_16(&steps, words + neuron / 2, told, pc->differences + neuron, count);
    return pc->plan->kernels->tell_32(&steps, words + neuron, told, pc->differences + neuron, count);
}

/* First the greatest of each source column, with margins of 0, then of the columns of each window. */
static es_pc_change pool_row(const es_net *net, uint32_t number, uint32_t y, uint32_t first, uint32_t end)
{
    const es_pc *pc = net->pc;
    const es_population *population = &net->model->populations[number];
    const es_projection *incoming = es_first_incoming(net->model, number);
    const es_population *source = &net->model->populations[incoming->source];
    const uint8_t *levels = es_buffer_of(net, incoming->source, ES_LEVELS);
    uint32_t channels = source->channels, stride = incoming->stride[1], left = incoming->padding[1];
    uint32_t from = first * stride; /* columns, counted from the margin's first */
    uint32_t to = (end - 1) * stride + (incoming->kernel[1] - 1u) * incoming->dilation[1] + 1;
    uint32_t inner = from > left ? from : left;
    uint32_t inner_end = to < left + source->width ? to : left + source->width;
    size_t neuron = ((size_t)y * population->width + first) * channels;
    es_window down = es_window_of(incoming, 0, y, source->height);

    memset(pc->padded, 0, (size_t)(to - from) * channels);
    for (uint32_t row = down.first; row < down.end && inner < inner_end; row += down.step)
        pc->plan->kernels->maximum(pc->padded + (size_t)(inner - from) * channels,
                                   levels + ((size_t)row * source->width + inner - left) * channels,
                                   (inner_end - inner) * channels);
    pc->plan->kernels->pool(pc->now, pc->padded, incoming->kernel[1], incoming->dilation[1] * channels, end - first,
                            stride * channels, channels);
    return pc->plan->kernels->differences(pc->differences + neuron,
                                          es_buffer_of(net, number, ES_LEVELS) + neuron, pc->now,
                                          (end - first) * channels);
}

/* ---- a population --------------------------------------------------------------- */

static es_pc_change evaluate_rows(const es_net *net, uint32_t number, const uint32_t *touched)
{
    const es_population *population = &net->model->populations[number];
    uint32_t width = population->width, channels = population->channels;
    es_pc_change all = {0, 0, 0};

    for (uint32_t y = 0; y < population->height; y++) {
        es_pc_row *row = &net->pc->rows[y];
        uint32_t first = first_touched(touched, y * width, (y + 1) * width);
        es_pc_change change;
        if (first == (y + 1) * width)
            continue;
        row->first = first - y * width;
        row->end = end_touched(touched, first, (y + 1) * width) - y * width;
        if (population->kind == ES_ACTIVATION)
            change = tell_row(net, number, (size_t)first * channels, (size_t)row->first * channels,
                              (row->end - row->first) * channels);
        else
            change = pool_row(net, number, y, row->first, row->end);
        row->changed = change.count;
        all.count += change.count;
        all.least = change.least < all.least ? change.least : all.least;
        all.greatest = change.greatest > all.greatest ? change.greatest : all.greatest;
        if (change.count == 0) { /* its differences are 0 */
            row->first = UINT32_MAX;
            row->end = 0;
        }
    }
    return all;
}

bool es_pc_evaluate(es_net *net, uint32_t number)
{
    const es_population *population = &net->model->populations[number];
    uint32_t *touched = (uint32_t *)(void *)es_buffer_of(net, number, ES_TOUCHED);
    uint32_t pixels = es_pixel_count(population);

    if (!net->pc || es_is_one_shot(net) || !net->pc->plan->populations[number].evaluated)
        return false;
    if (first_touched(touched, 0, pixels) == pixels)
        return true;
    es_pc_send(net, number, evaluate_rows(net, number, touched), false);
    memset(touched, 0, (pixels + 31) / 32 * sizeof *touched);
    return true;
}
