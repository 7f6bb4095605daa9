/* Dense passes: the differences of a population, all at once, to all that its projections lead to. */
#include "es_pc.h"

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
static void pad(const es_pc *pc, const es_pc_projection *projection, const es_pc_form *form,
                const int16_t *differences, uint32_t height, uint32_t row_values, uint32_t channels)
{
    uint32_t left = projection->left * channels * form->bytes;
    uint32_t inner = row_values * form->bytes;
    uint32_t row = projection->width * channels * form->bytes;
    int nothing = (uint8_t)(form->bytes == 2 ? 0 : -form->base);

    memset(pc->padded, nothing, (size_t)projection->top * row);
    for (uint32_t y = 0; y < height; y++) {
        uint8_t *to = pc->padded + (size_t)(projection->top + y) * row;
        memset(to, nothing, left);
        form_row(pc->plan->kernels, form, to + left, differences + (size_t)y * row_values, row_values);
        memset(to + left + inner, nothing, row - left - inner);
    }
    memset(pc->padded + (size_t)(projection->top + height) * row, nothing,
           (size_t)(projection->height - projection->top - height) * row);
}

/* Adds the sums of one row of target pixels. */
static void add_row(es_net *net, uint32_t number, const es_pc_projection *projection, uint32_t y, uint32_t lanes,
                    int32_t base)
{
    const es_pc *pc = net->pc;
    const es_pc_kernels *kernels = pc->plan->kernels;
    const es_population *target = &net->model->populations[number];
    uint8_t *accumulators = es_buffer_of(net, number, ES_ACCUMULATORS);
    uint32_t pieces = lanes == target->channels ? 1 : target->width; /* lanes without a channel are passed over */
    uint32_t count = pieces == 1 ? target->width * lanes : target->channels;

    for (uint32_t piece = 0; piece < pieces; piece++) {
        size_t neuron = ((size_t)y * target->width + piece) * target->channels;
        const int32_t *sums = pc->sums + (size_t)piece * lanes;
        if (target->accumulator_bytes == 2)
            kernels->add_16((uint32_t *)(void *)accumulators + neuron / 2, sums, projection->totals, base, count);
        else
            kernels->add_32((uint32_t *)(void *)accumulators + neuron, sums, projection->totals, base, count);
    }
}

static void pass_dot(es_net *net, const es_projection *projection, const es_pc_projection *plan,
                     const es_pc_form *form, const int16_t *differences)
{
    const es_pc *pc = net->pc;
    const es_population *source = &net->model->populations[projection->source];
    const es_population *target = &net->model->populations[projection->target];
    bool flat = projection->kind == ES_DENSE;
    uint32_t channels = plan->channels;
    uint32_t row = plan->width * channels * form->bytes;
    uint32_t stride = flat ? 1 : projection->stride[0];
    es_pc_dot dot;

    pad(pc, plan, form, differences, flat ? 1 : source->height, flat ? channels : source->width * channels, channels);
    dot.weights = plan->weights;
    dot.runs = plan->runs;
    dot.run_count = plan->run_count;
    dot.groups = plan->groups;
    dot.blocks = plan->blocks;
    dot.pixels = target->width;
    dot.pixel_step = (flat ? 1u : projection->stride[1]) * channels * form->bytes;
    for (uint32_t y = 0; y < target->height; y++) {
        dot.source = pc->padded + (size_t)y * stride * row;
        pc->plan->kernels->dot(&dot, pc->sums);
        add_row(net, projection->target, plan, y, plan->blocks * ES_PC_BLOCK, form->base);
    }
}

static void pass_by_channel(es_net *net, const es_projection *projection, const es_pc_projection *plan,
                            const int16_t *differences)
{
    const es_pc *pc = net->pc;
    const es_population *source = &net->model->populations[projection->source];
    const es_population *target = &net->model->populations[projection->target];
    bool single = projection->kind == ES_ONE_TO_ONE;
    uint32_t down = single ? 1 : projection->stride[0];
    uint32_t across = single ? 1 : projection->stride[1];
    uint32_t channels = target->channels;
    uint32_t pieces = across == 1 ? 1 : target->width;
    uint32_t lanes = plan->lanes;
    const int16_t *padded = (const int16_t *)(const void *)pc->padded;
    const int16_t *weights = (const int16_t *)(const void *)plan->weights;
    es_pc_form form = {2, 0, 0, false};

    pad(pc, plan, &form, differences, source->height, source->width * channels, channels);
    for (uint32_t y = 0; y < target->height; y++) {
        for (uint32_t piece = 0; piece < pieces; piece++)
            pc->plan->kernels->windows(pc->sums + (size_t)piece * channels,
                                       padded + ((size_t)y * down * plan->width + (size_t)piece * across) * channels,
                                       plan->runs, plan->run_count, weights, lanes, lanes / pieces);
        add_row(net, projection->target, plan, y, channels, 0);
    }
}

static void mark_all(es_net *net, uint32_t number)
{
    uint32_t pixels = es_pixel_count(&net->model->populations[number]);
    uint32_t *touched = (uint32_t *)(void *)es_buffer_of(net, number, ES_TOUCHED);

    memset(touched, 0xff, pixels / 32 * sizeof *touched);
    if (pixels % 32 != 0)
        touched[pixels / 32] = ((uint32_t)1 << pixels % 32) - 1;
}

static void pass(es_net *net, uint32_t projection_number, const int16_t *differences, es_pc_change change)
{
    const es_projection *projection = &net->model->projections[projection_number];
    const es_pc_projection *plan = &net->pc->plan->projections[projection_number];
    const es_pc_kernels *kernels = net->pc->plan->kernels;
    es_pc_form form = {4 / kernels->group, change.least, 0, false};

    mark_all(net, projection->target);
    if (plan->way == ES_PC_BY_CHANNEL)
        pass_by_channel(net, projection, plan, differences);
    if (plan->way != ES_PC_DOT)
        return;
    if (form.bytes == 1) {
        bool twice = change.greatest - change.least > 255;
        form.least = twice ? -128 : change.least;
        form.base = form.least - kernels->lowest;
        pass_dot(net, projection, plan, &form, differences);
        form.base = -127 - kernels->lowest;
        form.rest = true;
        if (!twice)
            return;
    }
    pass_dot(net, projection, plan, &form, differences);
}

void es_pc_pass(es_net *net, uint32_t number, const int16_t *differences, es_pc_change change)
{
    const es_population *source = &net->model->populations[number];

    for (uint32_t i = 0; i < source->projection_count; i++)
        pass(net, source->first_projection + i, differences, change);
    net->pending = true;
    net->pc->dense_passes++;
}
