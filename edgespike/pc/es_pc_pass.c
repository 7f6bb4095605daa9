/* Dense passes: all that changed in a population, at once, to the targets of a projection. */
#include "es_pc.h"

/* ---- what is reached ------------------------------------------------------ */

/* From the first to the last pixel that changed in the rows of a window. */
static es_pc_row changed_under(const es_net *net, const es_projection *projection, const es_pc_window *window,
                               uint32_t y)
{
    uint32_t height = net->model->populations[projection->source].height;
    es_pc_row all = {UINT32_MAX, 0, 0};

    for (uint32_t position = 0; position < window->kernel[0]; position++) {
        uint32_t from = y * window->stride[0] + position * window->dilation[0] - window->padding[0];
        const es_pc_row *row = &net->pc->rows[from];
        if (from >= height) /* also above 0 */
            continue;
        all.first = row->first < all.first ? row->first : all.first;
        all.end = row->end > all.end ? row->end : all.end;
    }
    return all;
}

/* The target pixels of row y that what changed reaches. */
static es_pc_row reached_in_row(const es_net *net, const es_projection *projection, const es_pc_window *window,
                                uint32_t y)
{
    uint32_t width = net->model->populations[projection->target].width;
    uint32_t before = (window->kernel[1] - 1) * window->dilation[1];
    es_pc_row changed = changed_under(net, projection, window, y);
    es_pc_row reached = {0, 0, 0};

    if (changed.first >= changed.end)
        return reached;
    changed.first += window->padding[1];
    changed.end += window->padding[1];
    if (changed.first > before)
        reached.first = (changed.first - before + window->stride[1] - 1) / window->stride[1];
    reached.end = (changed.end - 1) / window->stride[1] + 1;
    reached.end = reached.end < width ? reached.end : width;
    return reached;
}

uint32_t es_pc_find_reached(const es_net *net, uint32_t number)
{
    const es_projection *projection = &net->model->projections[number];
    const es_pc_projection *plan = &net->pc->plan->projections[number];
    es_pc_row flat = {0, 1, 0};
    uint32_t pixels = 0;

    for (uint32_t y = 0; y < net->model->populations[projection->target].height; y++) {
        es_pc_row reached = plan->flat ? flat : reached_in_row(net, projection, &plan->window, y);
        net->pc->reached[y] = reached;
        pixels += reached.first < reached.end ? reached.end - reached.first : 0;
    }
    return pixels;
}

void es_pc_mark(const es_net *net, uint32_t number, uint32_t y, uint32_t first, uint32_t end)
{
    uint32_t *touched = (uint32_t *)(void *)es_buffer_of(net, number, ES_TOUCHED);
    uint32_t width = net->model->populations[number].width;

    first += y * width;
    end += y * width;
    while (first < end) {
        uint32_t bit = first % 32, count = end - first < 32 - bit ? end - first : 32 - bit;
        touched[first / 32] |= (count == 32 ? UINT32_MAX : ((uint32_t)1 << count) - 1) << bit;
        first += count;
    }
}

/* ---- margins -------------------------------------------------------------- */

/* One row of differences, or margin where there is none, in the form of a dense pass. */
typedef struct es_pc_form {
    uint32_t bytes; /* of a difference: 1, or 2 as they are */
    int32_t least;
    int32_t base;
    bool rest; /* what lay outside -128 .. 127 */
} es_pc_form;

static void form_row(const es_pc_kernels *kernels, const es_pc_form *form, uint8_t *to, const int16_t *values,
                     uint32_t count)
{
    if (form->bytes == 2)
        memcpy(to, values, count * sizeof *values);
    else if (form->rest)
        kernels->narrow_rest(to, values, form->base, count);
    else
        kernels->narrow(to, values, form->least, form->base, count);
}

/* The differences of a population with the margins of a projection. */
static void pad(const es_net *net, const es_projection *projection, const es_pc_projection *plan,
                const es_pc_form *form)
{
    const es_pc *pc = net->pc;
    const es_population *source = &net->model->populations[projection->source];
    uint32_t height = plan->flat ? 1 : source->height;
    uint32_t width = plan->flat ? 1 : source->width;
    uint32_t pixel = plan->channels * form->bytes;
    uint32_t row = plan->width * pixel;
    int nothing = (uint8_t)(form->bytes == 2 ? 0 : -form->base);

    memset(pc->padded, nothing, (size_t)plan->window.padding[0] * row);
    for (uint32_t y = 0; y < height; y++) {
        uint8_t *to = pc->padded + (size_t)(plan->window.padding[0] + y) * row;
        const int16_t *values = pc->differences + (size_t)y * width * plan->channels;
        uint32_t first = plan->flat ? 0 : pc->rows[y].first, end = plan->flat ? 1 : pc->rows[y].end;
        uint32_t left, right;
        if (first >= end) {
            memset(to, nothing, row);
            continue;
        }
        left = (plan->window.padding[1] + first) * pixel;
        right = (plan->window.padding[1] + end) * pixel;
        memset(to, nothing, left);
        form_row(pc->plan->kernels, form, to + left, values + (size_t)first * plan->channels,
                 (end - first) * plan->channels);
        memset(to + right, nothing, row - right);
    }
    memset(pc->padded + (size_t)(plan->window.padding[0] + height) * row, nothing,
           (size_t)(plan->height - plan->window.padding[0] - height) * row);
}

/* ---- passes --------------------------------------------------------------- */

/* The accumulators from a neuron on. */
static uint32_t *accumulators_at(const es_net *net, uint32_t number, size_t neuron)
{
    uint32_t *words = (uint32_t *)(void *)es_buffer_of(net, number, ES_ACCUMULATORS);

    return words + (net->model->populations[number].accumulator_bytes == 2 ? neuron / 2 : neuron);
}

static void pass_dot(es_net *net, uint32_t number, const es_pc_form *form)
{
    const es_projection *projection = &net->model->projections[number];
    const es_pc_projection *plan = &net->pc->plan->projections[number];
    const es_population *target = &net->model->populations[projection->target];
    uint32_t pixel = plan->channels * form->bytes;
    es_pc_dot dot;

    pad(net, projection, plan, form);
    for (uint32_t lane = 0; lane < plan->blocks * ES_PC_BLOCK; lane++)
        net->pc->bias[lane] = (int32_t)((uint32_t)form->base * (uint32_t)plan->totals[lane]);
    dot.weights = plan->weights;
    dot.runs = plan->runs;
    dot.bias = net->pc->bias;
    dot.run_count = plan->run_count;
    dot.groups = plan->groups;
    dot.blocks = plan->blocks;
    dot.channels = target->channels;
    dot.pixel_step = plan->window.stride[1] * pixel;
    dot.paired = target->accumulator_bytes == 2;
    for (uint32_t y = 0; y < target->height; y++) {
        es_pc_row reached = net->pc->reached[y];
        size_t neuron = ((size_t)y * target->width + reached.first) * target->channels;
        if (reached.first >= reached.end)
            continue;
        dot.source = net->pc->padded + (size_t)y * plan->window.stride[0] * plan->width * pixel +
                     (size_t)reached.first * dot.pixel_step;
        dot.pixels = reached.end - reached.first;
        net->pc->plan->kernels->dot(&dot, accumulators_at(net, projection->target, neuron));
    }
}

static void pass_by_channel(es_net *net, uint32_t number)
{
    const es_projection *projection = &net->model->projections[number];
    const es_pc_projection *plan = &net->pc->plan->projections[number];
    const es_population *source = &net->model->populations[projection->source];
    const es_population *target = &net->model->populations[projection->target];
    bool margins = plan->height != source->height || plan->width != source->width;
    const int16_t *from = margins ? (const int16_t *)(const void *)net->pc->padded : net->pc->differences;
    es_pc_form form = {2, 0, 0, false};
    es_pc_windows windows;

    if (margins)
        pad(net, projection, plan, &form);
    windows.weights = (const int16_t *)(const void *)plan->weights;
    windows.runs = plan->runs;
    windows.run_count = plan->run_count;
    windows.weight_step = plan->lanes;
    windows.pixel_step = plan->window.stride[1] * plan->channels;
    windows.paired = target->accumulator_bytes == 2;
    for (uint32_t y = 0; y < target->height; y++) {
        es_pc_row reached = net->pc->reached[y];
        uint32_t pixels = reached.end - reached.first, count = pixels * target->channels;
        size_t neuron = ((size_t)y * target->width + reached.first) * target->channels;
        if (reached.first >= reached.end)
            continue;
        windows.source = from + (size_t)y * plan->window.stride[0] * plan->width * plan->channels +
                         (size_t)reached.first * windows.pixel_step;
        windows.pixels = plan->window.stride[1] == 1 ? 1 : pixels;
        windows.channels = count / windows.pixels;
        net->pc->plan->kernels->windows(&windows, accumulators_at(net, projection->target, neuron));
    }
}

static void mark_reached(const es_net *net, uint32_t number)
{
    uint32_t target = net->model->projections[number].target;

    for (uint32_t y = 0; y < net->model->populations[target].height; y++) {
        es_pc_row reached = net->pc->reached[y];
        es_pc_mark(net, target, y, reached.first, reached.end);
    }
}

void es_pc_pass(es_net *net, uint32_t number, es_pc_change change)
{
    const es_pc_projection *plan = &net->pc->plan->projections[number];
    const es_pc_kernels *kernels = net->pc->plan->kernels;
    es_pc_form form = {4 / kernels->group, change.least, 0, false};

    mark_reached(net, number);
    if (plan->way == ES_PC_BY_CHANNEL)
        pass_by_channel(net, number);
    if (plan->way != ES_PC_DOT)
        return;
    if (form.bytes == 1) {
        bool twice = change.greatest - change.least > 255;
        form.least = twice ? -128 : change.least;
        form.base = form.least - kernels->lowest;
        pass_dot(net, number, &form);
        form.base = -127 - kernels->lowest;
        form.rest = true;
        if (!twice)
            return;
    }
    pass_dot(net, number, &form);
}
