/* What bulk work needs of a model, worked out once: which targets each source reaches,
 * what that costs, and reciprocals of the steps. */
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
static bool is_moderate(const es_model *model, const es_projection *projection)
{
    const es_population *source = &model->populations[projection->source];
    const es_population *target = &model->populations[projection->target];
    es_pc_window window = window_of(projection);
    uint64_t padded = (uint64_t)extent(&window, 0, source->height, target->height) *
                      extent(&window, 1, source->width, target->width);
    uint64_t positions = (uint64_t)window.kernel[0] * window.kernel[1];

    return positions <= 1024 && padded <= 16u * (uint64_t)es_pixel_count(source) + 4096 &&
           positions * target->width * target->channels <= 1u << 24;
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Which targets each source reaches along an axis. */
static void plan_taps(es_pc_projection *plan, es_pc_taps *taps, int axis, uint32_t sources, uint32_t targets)
{
    const es_pc_window *window = &plan->window;
    uint32_t stride = window->stride[axis], dilation = window->dilation[axis];

    for (uint32_t source = 0; source < sources; source++) {
        es_pc_taps found = {0, 0, 0};
        for (uint32_t position = window->kernel[axis]; position-- > 0;) {
            int64_t distance = (int64_t)source + window->padding[axis] - (int64_t)position * dilation;
            if (distance < 0 || distance % stride != 0 || distance / stride >= targets)
                continue;
            if (found.count++ == 0) {
                found.target = (uint32_t)(distance / stride);
                found.position = position;
            }
        }
        taps[source] = found;
    }
}

/* Where not all columns reach as many targets, their number by place in a row. */
static void plan_reached(es_pc_projection *plan, uint32_t width)
{
    bool uniform = true;

    for (uint32_t x = 1; x < width; x++)
        uniform = uniform && plan->across[x].count == plan->across[0].count;
    for (uint32_t x = 0; x < width && !uniform; x++)
        for (uint32_t channel = 0; channel < plan->channels; channel++)
            plan->reached[(size_t)x * plan->channels + channel] = (uint16_t)plan->across[x].count;
    if (uniform)
        plan->reached = NULL;
}

static double mean_count(const es_pc_taps *taps, uint32_t count)
{
    double sum = 0.0;

    for (uint32_t i = 0; i < count; i++)
        sum += taps[i].count;
    return sum / count;
}

/* Nanoseconds, roughly; the constants were fitted to measurements. */
static void plan_costs(const es_pc_kernels *kernels, const es_population *source, const es_population *target,
                       es_pc_projection *plan)
{
    uint32_t rows = plan->flat ? 1 : source->height;
    double taps = mean_count(plan->down, rows) * mean_count(plan->across, plan->flat ? 1 : source->width);

    plan->fixed = 100.0 + 0.03 * (double)plan->height * plan->width * plan->channels;
    if (plan->way == ES_PC_DOT) {
        plan->by_pixel = kernels->dense * plan->run_count * plan->groups * plan->blocks + 0.1 * target->channels;
        plan->by_changed_pixel = 10.0 + 32.0 * mean_count(plan->down, rows);
        plan->by_event = 1.0 + kernels->scatter * taps * target->channels;
    } else {
        plan->by_pixel = 3.0 + (0.1 + 0.03 * plan->run_count) * target->channels;
        plan->by_changed_pixel = 10.0 + 30.0 * taps;
        plan->by_event = 0.5;
    }
}

/* The sizes of everything. */
static es_pc_projection measure(const es_pc_plan *plan, const es_model *model, const es_projection *projection)
{
    const es_population *source = &model->populations[projection->source];
    const es_population *target = &model->populations[projection->target];
    es_pc_window window = window_of(projection);
    bool whole = window.dilation[1] == 1; /* rows of a window lie together */
    es_pc_projection made;

    memset(&made, 0, sizeof made);
    made.flat = projection->kind == ES_DENSE;
    made.window = window;
    made.way = is_moderate(model, projection) ? way_of(model, projection) : ES_PC_NO_WAY;
    made.channels = made.flat ? es_neuron_count(source) : source->channels;
    made.height = extent(&window, 0, made.flat ? 1 : source->height, target->height);
    made.width = extent(&window, 1, made.flat ? 1 : source->width, target->width);
    for (int axis = 0; axis < 2; axis++) {
        uint32_t divisor = common_divisor(window.stride[axis], window.dilation[axis]);
        made.target_step[axis] = window.dilation[axis] / divisor;
        made.position_step[axis] = window.stride[axis] / divisor;
    }
    if (made.way == ES_PC_DOT) {
        made.length = target->channels;
        made.run_count = whole ? window.kernel[0] : window.kernel[0] * window.kernel[1];
        made.run_length = whole ? window.kernel[1] * made.channels : made.channels;
        made.groups = (made.run_length + plan->kernels->group - 1) / plan->kernels->group;
        made.blocks = (target->channels + ES_PC_BLOCK - 1u) / ES_PC_BLOCK;
    } else {
        made.length = 1;
        made.run_count = window.kernel[0] * window.kernel[1];
        made.lanes = (window.stride[1] == 1 ? (uint32_t)target->width : 1) * target->channels;
    }
    return made;
}

static void reserve_all(es_pc_room *room, es_pc_projection *made, const es_population *source, uint32_t targets)
{
    uint32_t lanes = made->blocks * ES_PC_BLOCK;

    made->down = (es_pc_taps *)reserve(room, source->height * sizeof *made->down);
    made->across = (es_pc_taps *)reserve(room, source->width * sizeof *made->across);
    made->reached = (uint16_t *)reserve(room, (size_t)source->width * source->channels * sizeof *made->reached);
    made->runs = (uint32_t *)reserve(room, made->run_count * sizeof *made->runs);
    if (made->way == ES_PC_DOT) {
        uint32_t positions = made->window.kernel[0] * made->window.kernel[1];
        size_t pairs = (size_t)positions * ((made->channels + 1) / 2) * targets;
        made->weights = (uint8_t *)reserve(room, (size_t)made->run_count * made->groups * lanes * 4);
        made->totals = (int32_t *)reserve(room, lanes * sizeof *made->totals);
        made->places = (uint32_t *)reserve(room, made->window.kernel[1] * sizeof *made->places);
        made->pairs = (int16_t *)reserve(room, (pairs * 2 + 4 * ES_PC_BLOCK) * sizeof *made->pairs);
    } else if (made->way == ES_PC_BY_CHANNEL) {
        made->weights = (uint8_t *)reserve(room, (size_t)made->run_count * made->lanes * sizeof(int16_t));
    }
}

static void plan_projection(es_pc_room *room, es_pc_plan *plan, const es_model *model, uint32_t number)
{
    const es_projection *projection = &model->projections[number];
    const es_population *source = &model->populations[projection->source];
    const es_population *target = &model->populations[projection->target];
    es_pc_projection made = measure(plan, model, projection);

    if (made.way != ES_PC_NO_WAY) {
        size_t padded = (size_t)made.height * made.width * made.channels;
        plan->padded = padded > plan->padded ? padded : plan->padded;
        plan->blocks = made.blocks > plan->blocks ? made.blocks : plan->blocks;
        reserve_all(room, &made, source, target->channels);
    }
    if (!room->memory)
        return;
    if (made.way != ES_PC_NO_WAY) {
        plan_taps(&made, made.down, 0, made.flat ? 1 : source->height, target->height);
        plan_taps(&made, made.across, 1, made.flat ? 1 : source->width, target->width);
        plan_reached(&made, made.flat ? 1 : source->width);
        plan_costs(plan->kernels, source, target, &made);
        es_pc_pack(model, projection, plan->kernels, &made);
    }
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
    const es_projection *incoming;
    const es_population *source;

    if (population->level_bytes != 1)
        return false;
    if (population->kind == ES_ACTIVATION)
        return !es_has_table(population) && steps_fit(model, population);
    if (population->kind != ES_MAX_POOL)
        return false;
    incoming = es_first_incoming(model, number);
    source = &model->populations[incoming->source];
    return source->level_bytes == 1 && !(source == model->populations && model->input->counts_events) &&
           is_moderate(model, incoming);
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
    const int32_t *given = es_parameters(model, population);
    bool quick = is_quick(model, population);
    size_t count = made->whole_rows ? (uint32_t)population->width * population->channels
                                    : es_neuron_count(population);
    float *reciprocal = (float *)reserve(room, count * sizeof *reciprocal);
    float *offset = (float *)reserve(room, quick ? count * sizeof *offset : 0);
    int32_t *step = (int32_t *)reserve(room, quick ? 0 : count * sizeof *step);
    int32_t *low = (int32_t *)reserve(room, quick ? 0 : count * sizeof *low);
    int32_t *high = (int32_t *)reserve(room, quick ? 0 : count * sizeof *high);
    es_pc_steps steps = {reciprocal, offset, step, low, high, (float)(population->level_max - population->level_min),
                         population->level_shift, quick};

    made->steps = steps;
    for (size_t i = 0; room->memory && i < count; i++) {
        int32_t size = given[i % population->parameter_count];
        reciprocal[i] = quick ? next_above(1.0f / (float)size) : 1.0f / (float)size;
        if (quick) {
            offset[i] = (float)(size / 2 - population->level_min * size);
        } else {
            step[i] = size;
            low[i] = population->level_min * size;
            high[i] = (population->level_max + 1) * size - 1;
        }
    }
}

static void plan_population(es_pc_room *room, es_pc_plan *plan, const es_model *model, uint32_t number)
{
    const es_population *population = &model->populations[number];
    es_pc_population made;

    memset(&made, 0, sizeof made);
    made.evaluated = is_evaluated(model, population, number);
    made.whole_rows = population->parameter_count == population->channels;
    if (made.evaluated && population->kind == ES_ACTIVATION)
        plan_steps(room, model, population, &made);
    plan->tallest = greater((uint32_t)plan->tallest, population->height);
    if (es_neuron_count(population) > plan->greatest)
        plan->greatest = es_neuron_count(population);
    if (!room->memory)
        return;
    made.sent = true;
    for (uint32_t i = 0; i < population->projection_count; i++)
        made.sent = made.sent && plan->projections[population->first_projection + i].way != ES_PC_NO_WAY;
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
