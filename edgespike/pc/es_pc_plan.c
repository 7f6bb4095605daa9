/* What bulk work needs of a model, worked out once: weights in the order of the dot products,
 * reciprocals of the steps, and how many targets each source reaches. */
#include "es_pc.h"

/* ---- memory ------------------------------------------------------------ */

typedef struct es_pc_room {
    uint8_t *memory; /* NULL: only measure */
    size_t used;
} es_pc_room;

static void *reserve(es_pc_room *room, size_t bytes)
{
    void *place = room->memory ? room->memory + room->used : NULL;

    room->used = (room->used + bytes + 63) / 64 * 64;
    return place;
}

/* ---- weights as they lie in the file ------------------------------------ */

/* Weight `index` of a vector (docs/format.md, PROJ); `paired`: in the order for two accumulators in a word. */
static int32_t byte_weight(const int8_t *weights, uint32_t index, bool paired)
{
    const int8_t *low = weights + index / 4 * 4 + index % 4 / 2; /* of the pair */

    if (!paired)
        return weights[index];
    return index % 2 == 0 ? low[0] : low[2] + (low[0] < 0);
}

static int32_t half_weight(const uint8_t *weights, uint32_t index, uint32_t length, bool paired)
{
    uint32_t half = (length + 1) / 2;
    uint32_t byte = paired ? index / 2 : index % half;
    bool above = paired ? index % 2 != 0 : index >= half;

    return above ? (int8_t)weights[byte] >> 4 : (int8_t)(uint8_t)(weights[byte] << 4) >> 4;
}

static int32_t word_weight(const uint32_t *words, uint32_t index)
{
    return index % 2 == 0 ? (int16_t)words[index / 2] : (int16_t)((words[index / 2] + 0x8000u) >> 16);
}

static int32_t weight_at(const es_model *model, const es_projection *projection, uint32_t vector, uint32_t index,
                         uint32_t length)
{
    const uint8_t *weights = model->weights + projection->weight_offset;
    bool paired = model->populations[projection->target].accumulator_bytes == 2 && length % 2 == 0;

    if (projection->weight_bits == 4)
        return half_weight(weights + (size_t)vector * (projection->weight_stride / 2), index, length, paired);
    if (projection->weight_bits == 16)
        return word_weight((const uint32_t *)(const void *)weights + (size_t)vector * (projection->weight_stride / 2),
                           index);
    return byte_weight((const int8_t *)weights + (size_t)vector * projection->weight_stride, index, paired);
}

/* From a source channel at a kernel position to a target channel, or one of its group. Kernels are stored
 * from right to left. */
static int32_t weight_of(const es_model *model, const es_projection *projection, uint32_t channel, uint32_t position,
                         uint32_t target)
{
    uint32_t length = model->populations[projection->target].channels / projection->groups;
    uint32_t columns = projection->kernel[1];
    uint32_t positions = projection->kernel[0] * columns;
    uint32_t vector = (position / columns + 1) * columns - 1 - position % columns;

    return weight_at(model, projection, channel * positions + vector, target, length);
}

/* ---- projections ------------------------------------------------------- */

static uint8_t way_of(const es_model *model, const es_projection *projection)
{
    const es_population *source = &model->populations[projection->source];
    const es_population *target = &model->populations[projection->target];

    if (es_is_spiking(target) || projection->delay != 0 || projection->shift != 0)
        return ES_PC_NO_WAY;
    switch (projection->kind) {
    case ES_DENSE:
        return ES_PC_DOT;
    case ES_CONVOLUTION:
        if (projection->groups == 1)
            return ES_PC_DOT;
        return projection->groups == source->channels && source->channels == target->channels ? ES_PC_BY_CHANNEL
                                                                                             : ES_PC_NO_WAY;
    case ES_MAX_POOL_WINDOW:
        return ES_PC_MARK;
    default:
        return ES_PC_BY_CHANNEL;
    }
}

static uint32_t greater(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* A dense projection sees its source as one pixel, one to one is a window of one pixel. */
typedef struct es_pc_window {
    uint32_t kernel[2];
    uint32_t stride[2];
    uint32_t dilation[2];
    uint32_t padding[2];
} es_pc_window;

static es_pc_window window_of(const es_projection *projection)
{
    es_pc_window window = {{1, 1}, {1, 1}, {1, 1}, {0, 0}};

    if (projection->kind == ES_DENSE || projection->kind == ES_ONE_TO_ONE)
        return window;
    for (int axis = 0; axis < 2; axis++) {
        window.kernel[axis] = projection->kernel[axis];
        window.stride[axis] = projection->stride[axis];
        window.dilation[axis] = projection->dilation[axis];
        window.padding[axis] = projection->padding[axis];
    }
    return window;
}

/* From the first row (column) of the padding to the last that a window reaches. */
static uint32_t extent(const es_pc_window *window, int axis, uint32_t sources, uint32_t targets)
{
    return greater(window->padding[axis] + sources, (targets - 1) * window->stride[axis] +
                                                        (window->kernel[axis] - 1) * window->dilation[axis] + 1);
}

/* Whether margins and windows are of a size that pays: a file may ask for any. */
static bool is_moderate(const es_model *model, const es_projection *projection, const es_pc_window *window)
{
    const es_population *source = &model->populations[projection->source];
    const es_population *target = &model->populations[projection->target];
    uint64_t padded = (uint64_t)extent(window, 0, source->height, target->height) *
                      extent(window, 1, source->width, target->width);
    uint64_t positions = (uint64_t)window->kernel[0] * window->kernel[1];

    return positions <= 1024 && padded <= 16u * (uint64_t)es_pixel_count(source) + 4096 &&
           positions * target->width * target->channels <= 1u << 24;
}

/* How many targets each source reaches along an axis; 1 where `targets` is 0: all are reached at once. */
static void count_reached(uint16_t *reached, const es_pc_window *window, int axis, uint32_t sources, uint32_t targets)
{
    for (uint32_t source = 0; source < sources; source++)
        reached[source] = targets == 0;
    for (uint32_t target = 0; target < targets; target++)
        for (uint32_t position = 0; position < window->kernel[axis]; position++) {
            uint32_t padded = target * window->stride[axis] + position * window->dilation[axis];
            if (padded >= window->padding[axis] && padded - window->padding[axis] < sources)
                reached[padded - window->padding[axis]]++;
        }
}

static void pack_dot(const es_model *model, const es_projection *projection, const es_pc_window *window,
                     const es_pc_kernels *kernels, es_pc_projection *plan)
{
    uint32_t source_channels = plan->channels;
    uint32_t targets = model->populations[projection->target].channels;
    uint32_t columns = model->populations[projection->target].width;
    uint32_t lanes = plan->blocks * ES_PC_BLOCK;
    bool whole = window->dilation[1] == 1;

    memset(plan->weights, 0, (size_t)plan->run_count * plan->groups * lanes * 4);
    memset(plan->totals, 0, plan->lanes * sizeof *plan->totals);
    for (uint32_t run = 0; run < plan->run_count; run++) {
        uint32_t row = whole ? run : run / window->kernel[1];
        uint32_t column = whole ? 0 : run % window->kernel[1];
        plan->runs[run] = (row * window->dilation[0] * plan->width + column * window->dilation[1]) *
                          source_channels * (4 / kernels->group);
        for (uint32_t i = 0; i < plan->run_length; i++)
            for (uint32_t target = 0; target < targets; target++) {
                uint32_t position = row * window->kernel[1] + column + i / source_channels;
                uint32_t channel = i % source_channels;
                int32_t weight = projection->kind == ES_DENSE
                                     ? weight_at(model, projection, i, target, targets)
                                     : weight_of(model, projection, channel, position, target);
                size_t place = ((size_t)run * plan->groups + i / kernels->group) * lanes + target;
                place = place * kernels->group + i % kernels->group;
                if (weight > INT8_MAX) /* as no converter writes it */
                    plan->way = ES_PC_NO_WAY;
                if (kernels->group == 4)
                    ((int8_t *)plan->weights)[place] = (int8_t)weight;
                else
                    ((int16_t *)(void *)plan->weights)[place] = (int16_t)weight;
                plan->totals[target] += weight;
            }
    }
    for (uint32_t column = 1; column < columns; column++)
        memcpy(plan->totals + (size_t)column * lanes, plan->totals, lanes * sizeof *plan->totals);
}

static void pack_by_channel(const es_model *model, const es_projection *projection, const es_pc_window *window,
                            es_pc_projection *plan)
{
    uint32_t channels = plan->channels;
    uint32_t lanes = plan->lanes;
    const int16_t *shorts = (const int16_t *)(const void *)(model->weights + projection->weight_offset);
    int16_t *weights = (int16_t *)(void *)plan->weights;

    for (uint32_t position = 0; position < plan->run_count; position++) {
        uint32_t row = position / window->kernel[1];
        uint32_t column = position % window->kernel[1];
        plan->runs[position] =
            (row * window->dilation[0] * plan->width + column * window->dilation[1]) * channels;
        for (uint32_t i = 0; i < lanes; i++) {
            int32_t weight = 1;
            if (projection->kind == ES_CONVOLUTION)
                weight = weight_of(model, projection, i % channels, position, 0);
            else if (projection->kind == ES_ONE_TO_ONE)
                weight = shorts[i % channels];
            weights[(size_t)position * lanes + i] = (int16_t)weight;
        }
    }
    memset(plan->totals, 0, lanes * sizeof *plan->totals);
}

/* The sizes of everything. A dense projection sees its source as one pixel. */
static es_pc_projection measure(const es_pc_plan *plan, const es_model *model, const es_projection *projection,
                                const es_pc_window *window)
{
    const es_population *source = &model->populations[projection->source];
    const es_population *target = &model->populations[projection->target];
    bool flat = projection->kind == ES_DENSE;
    uint32_t positions = window->kernel[0] * window->kernel[1];
    bool whole = window->dilation[1] == 1; /* rows of a window lie together */
    es_pc_projection made;

    memset(&made, 0, sizeof made);
    made.way = is_moderate(model, projection, window) ? way_of(model, projection) : ES_PC_NO_WAY;
    made.channels = flat ? es_neuron_count(source) : source->channels;
    made.top = window->padding[0];
    made.left = window->padding[1];
    made.height = extent(window, 0, flat ? 1 : source->height, target->height);
    made.width = extent(window, 1, flat ? 1 : source->width, target->width);
    made.cost = 150.0 + 0.03 * (double)made.height * made.width * made.channels + 0.1 * es_neuron_count(target);
    if (made.way == ES_PC_DOT) {
        made.length = target->channels;
        made.run_count = whole ? window->kernel[0] : positions;
        made.run_length = whole ? window->kernel[1] * made.channels : made.channels;
        made.groups = (made.run_length + plan->kernels->group - 1) / plan->kernels->group;
        made.blocks = (target->channels + ES_PC_BLOCK - 1u) / ES_PC_BLOCK;
        made.lanes = target->width * made.blocks * ES_PC_BLOCK;
        made.cost += plan->kernels->dense * made.run_count * made.groups * made.blocks * es_pixel_count(target);
    } else {
        made.length = 1;
        made.run_count = positions;
        made.lanes = (uint32_t)target->width * target->channels;
        made.cost += 0.05 * positions * (double)es_neuron_count(target);
    }
    return made;
}

static void plan_projection(es_pc_room *room, es_pc_plan *plan, const es_model *model, uint32_t number)
{
    const es_projection *projection = &model->projections[number];
    const es_population *source = &model->populations[projection->source];
    const es_population *target = &model->populations[projection->target];
    es_pc_window window = window_of(projection);
    es_pc_projection made = measure(plan, model, projection, &window);

    if (made.way != ES_PC_NO_WAY) {
        size_t padded = (size_t)made.height * made.width * made.channels;
        size_t weights = made.way == ES_PC_DOT
                             ? (size_t)made.run_count * made.groups * made.blocks * ES_PC_BLOCK * 4
                             : (size_t)made.run_count * made.lanes * sizeof(int16_t);
        weights = made.way == ES_PC_MARK ? 0 : weights;
        made.down = (uint16_t *)reserve(room, source->height * sizeof *made.down);
        made.across = (uint16_t *)reserve(room, source->width * sizeof *made.across);
        made.runs = (uint32_t *)reserve(room, made.run_count * sizeof *made.runs);
        made.weights = (uint8_t *)reserve(room, weights);
        made.totals = (int32_t *)reserve(room, made.lanes * sizeof *made.totals);
        plan->padded = padded > plan->padded ? padded : plan->padded;
        plan->row = made.lanes > plan->row ? made.lanes : plan->row;
    }
    if (!room->memory)
        return;
    if (made.way != ES_PC_NO_WAY) {
        count_reached(made.down, &window, 0, source->height, projection->kind == ES_DENSE ? 0 : target->height);
        count_reached(made.across, &window, 1, source->width, projection->kind == ES_DENSE ? 0 : target->width);
    }
    if (made.way == ES_PC_DOT)
        pack_dot(model, projection, &window, plan->kernels, &made);
    else if (made.way == ES_PC_BY_CHANNEL)
        pack_by_channel(model, projection, &window, &made);
    plan->projections[number] = made;
}

/* ---- populations ------------------------------------------------------- */

/* Within these limits no number of a level overflows, and quotients by reciprocals are off by one at most. */
static bool steps_fit(const es_model *model, const es_population *population)
{
    const int32_t *steps = es_parameters(model, population);
    int32_t most = (1 << 30) / 260;

    for (uint32_t i = 0; i < population->parameter_count; i++)
        if (steps[i] > most)
            return false;
    return population->level_min >= -255 && population->level_max <= 255;
}

/* See es_pc_steps. */
static bool is_quick(const es_model *model, const es_population *population)
{
    const int32_t *steps = es_parameters(model, population);
    int64_t most = (int64_t)population->level_max - population->level_min + 1;

    most += population->level_min < 0 ? -(int64_t)population->level_min : population->level_min;
    for (uint32_t i = 0; i < population->parameter_count; i++)
        if (steps[i] * most > 1 << 21)
            return false;
    return true;
}

static bool is_evaluated(const es_model *model, const es_population *population, uint32_t number)
{
    const es_population *source;

    if (population->level_bytes != 1)
        return false;
    if (population->kind == ES_ACTIVATION)
        return !es_has_table(population) && steps_fit(model, population);
    if (population->kind != ES_MAX_POOL)
        return false;
    source = &model->populations[es_first_incoming(model, number)->source];
    return source->level_bytes == 1 && !(source == model->populations && model->input->counts_events);
}

/* The next float above a positive one. */
static float next_above(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    bits++;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

static void plan_steps(es_pc_room *room, const es_model *model, const es_population *population,
                       es_pc_population *made)
{
    const int32_t *steps = es_parameters(model, population);
    uint32_t count = made->whole_rows ? (uint32_t)population->width * population->channels
                                      : es_neuron_count(population);

    made->step = (int32_t *)reserve(room, count * sizeof *made->step);
    made->low = (int32_t *)reserve(room, count * sizeof *made->low);
    made->high = (int32_t *)reserve(room, count * sizeof *made->high);
    made->reciprocal = (float *)reserve(room, count * sizeof *made->reciprocal);
    if (!room->memory)
        return;
    for (uint32_t i = 0; i < count; i++) {
        int32_t step = steps[i % population->parameter_count];
        made->step[i] = step;
        made->low[i] = population->level_min * step;
        made->high[i] = (population->level_max + 1) * step - 1;
        made->reciprocal[i] = 1.0f / (float)step;
        if (made->quick)
            made->reciprocal[i] = next_above(made->reciprocal[i]);
    }
}

static double mean(const uint16_t *values, uint32_t count)
{
    double sum = 0.0;

    for (uint32_t i = 0; i < count; i++)
        sum += values[i];
    return sum / count;
}

static void plan_population(es_pc_room *room, es_pc_plan *plan, const es_model *model, uint32_t number)
{
    const es_population *population = &model->populations[number];
    es_pc_population made;

    memset(&made, 0, sizeof made);
    made.evaluated = is_evaluated(model, population, number);
    made.quick = made.evaluated && population->kind == ES_ACTIVATION && is_quick(model, population);
    made.whole_rows = population->parameter_count == population->channels;
    if (made.evaluated && population->kind == ES_ACTIVATION)
        plan_steps(room, model, population, &made);
    plan->tallest = greater((uint32_t)plan->tallest, population->height);
    if (es_neuron_count(population) > plan->greatest)
        plan->greatest = es_neuron_count(population);
    if (!room->memory)
        return;
    made.sent = true;
    for (uint32_t i = 0; i < population->projection_count; i++) {
        const es_pc_projection *projection = &plan->projections[population->first_projection + i];
        made.sent = made.sent && projection->way != ES_PC_NO_WAY;
        if (!made.sent)
            break;
        made.cost += projection->cost;
        made.reach += projection->length * mean(projection->down, population->height) *
                      mean(projection->across, population->width);
    }
    plan->populations[number] = made;
}

/* The number of neurons, reached targets and margins are those of a checked model: nothing overflows. */
void es_pc_plan_make(es_pc_plan *plan, const es_model *model, const es_pc_kernels *kernels, void *memory)
{
    es_pc_room room = {(uint8_t *)memory, 0};

    memset(plan, 0, sizeof *plan);
    plan->kernels = kernels;
    plan->populations = (es_pc_population *)reserve(&room, model->population_count * sizeof *plan->populations);
    plan->projections = (es_pc_projection *)reserve(&room, model->projection_count * sizeof *plan->projections);
    for (uint32_t number = 0; number < model->projection_count; number++)
        plan_projection(&room, plan, model, number);
    for (uint32_t number = 0; number < model->population_count; number++)
        plan_population(&room, plan, model, number);
    plan->size = room.used;
}
