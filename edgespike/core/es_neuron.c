/* Neurons: what a touched pixel of each kind does when its tick closes. */
#include "es_internal.h"

/* ---- one population at work -------------------------------------------- */

/* Where the state and the parameters of the population under evaluation are. */
typedef struct es_work {
    const es_net *net;
    uint32_t number;
    const es_population *population;
    uint8_t *accumulators;
    uint8_t *levels; /* NULL in the one-shot plan, unless a max pool reads them */
    int32_t *scores; /* NULL unless it is an output that keeps them */
    int32_t *currents; /* NULL where there is no such state, like the next two */
    int32_t *adaptations;
    uint16_t *refractory;
    const int32_t *parameters;
    es_initial initial;
    const es_projection *incoming; /* of a max pool */
} es_work;

/* One group of channels of one pixel. */
typedef struct es_group {
    uint32_t pixel;
    uint32_t y;
    uint32_t x;
    uint32_t first; /* channel */
    uint32_t count;
} es_group;

static uint32_t first_neuron(const es_work *work, const es_group *group)
{
    return group->pixel * work->population->channels + group->first;
}

/* The first array's; the next ones lie parameter_count apart. Parameters are by channel or by
 * neuron; a vector's channels are its neurons. */
static const int32_t *parameters_of(const es_work *work, const es_group *group)
{
    const es_population *population = work->population;
    bool by_channel = population->parameter_count == population->channels;

    return work->parameters + (by_channel ? group->first : first_neuron(work, group));
}

static void append(es_pixel_events *events, uint32_t channel, int32_t value)
{
    events->channels[events->count] = (uint16_t)channel;
    events->values[events->count] = value;
    events->count++;
}

/* ---- levels ------------------------------------------------------------ */

static void activation_levels(const es_work *work, const es_group *group, uint16_t *now)
{
    const es_population *population = work->population;
    const int32_t *steps = parameters_of(work, group);
    uint32_t neuron = first_neuron(work, group);

    for (uint32_t i = 0; i < group->count; i++) {
        int32_t accumulator = es_accumulator(population, work->accumulators, neuron + i);
        now[i] = (uint16_t)es_level(work->net->model, population, group->first + i, accumulator, steps[i]);
    }
}

/* ---- max pool ---------------------------------------------------------- */

/* Raises maxima to the stored levels of a group of channels of a source pixel. */
static void raise_to(const es_work *work, uint32_t source_number, const es_group *group,
                     uint32_t source_pixel, uint16_t *maxima)
{
    const es_model *model = work->net->model;
    const es_population *source = &model->populations[source_number];
    const uint8_t *levels = es_buffer_of(work->net, source_number, ES_LEVELS);
    uint32_t neuron = source_pixel * source->channels + group->first;

    if (source_number == 0 && model->input->counts_events) {
        for (uint32_t i = 0; i < group->count; i++) {
            uint32_t stored = es_stored_level(levels, source->level_bytes, neuron + i);
            int32_t level = es_input_level(model, group->first + i, stored) - source->level_min;
            if (level > maxima[i])
                maxima[i] = (uint16_t)level;
        }
    } else if (source->level_bytes == 1) {
        es_maximum_8(maxima, levels + neuron, group->count);
    } else {
        es_maximum_16(maxima, (const uint16_t *)(const void *)levels + neuron, group->count);
    }
}

es_window es_window_of(const es_projection *projection, int axis, uint32_t target, uint32_t source_size)
{
    int32_t start = (int32_t)(target * projection->stride[axis]) - projection->padding[axis];
    int32_t dilation = projection->dilation[axis];
    int32_t skipped = start < 0 ? (-start + dilation - 1) / dilation : 0;
    int64_t end = start + ((int64_t)projection->kernel[axis] - 1) * dilation + 1;
    es_window window;

    window.first = (uint32_t)(start + skipped * dilation);
    window.end = end < (int64_t)source_size ? (uint32_t)end : source_size;
    window.step = (uint32_t)dilation;
    return window;
}

static void max_pool_levels(const es_work *work, const es_group *group, uint16_t *now)
{
    const es_projection *projection = work->incoming;
    const es_population *source = &work->net->model->populations[projection->source];
    es_window down = es_window_of(projection, 0, group->y, source->height);
    es_window across = es_window_of(projection, 1, group->x, source->width);

    memset(now, 0, group->count * sizeof *now);
    for (uint32_t y = down.first; y < down.end; y += down.step)
        for (uint32_t x = across.first; x < across.end; x += across.step)
            raise_to(work, projection->source, group, y * source->width + x, now);
}

/* The stored levels that the state of a group means now. */
static void present_levels(const es_work *work, const es_group *group, uint16_t *now)
{
    if (work->population->kind == ES_ACTIVATION)
        activation_levels(work, group, now);
    else
        max_pool_levels(work, group, now);
}

/* The stored levels that a pixel has in the beginning. */
static const uint8_t *initial_levels(const es_work *work, uint32_t y, uint32_t x)
{
    uint32_t index = es_initial_index(&work->initial, y, x, work->population->channels);

    return work->initial.table + work->initial.levels + (size_t)index * work->population->level_bytes;
}

/* The stored levels that a group last told: the streaming plan keeps them, in
 * the one-shot plan they are still the initial ones. */
static const uint8_t *told_levels(const es_work *work, const es_group *group)
{
    uint32_t bytes = work->population->level_bytes;

    if (work->levels)
        return work->levels + (size_t)first_neuron(work, group) * bytes;
    return initial_levels(work, group->y, group->x) + (size_t)group->first * bytes;
}

/* Keeps the present levels of a group and lists what changed. */
static ES_APART void tell_levels(const es_work *work, const es_group *group, es_pixel_events *events)
{
    const uint8_t *told = told_levels(work, group);
    bool narrow = work->population->level_bytes == 1;
    uint16_t now[ES_GROUP];

    present_levels(work, group, now);
    for (uint32_t i = 0; i < group->count; i++) {
        int32_t before = narrow ? told[i] : ((const uint16_t *)(const void *)told)[i];
        if (now[i] != before)
            append(events, group->first + i, now[i] - before);
    }
    if (!work->levels)
        return;
    for (uint32_t i = 0; i < group->count; i++) {
        if (narrow)
            work->levels[first_neuron(work, group) + i] = (uint8_t)now[i];
        else
            ((uint16_t *)(void *)work->levels)[first_neuron(work, group) + i] = now[i];
    }
}

/* ---- integrate and fire ------------------------------------------------ */

/* parameter arrays */
enum {
    THRESHOLD,
    DECAY,
    DRIVE,
    RESET_VALUE,
    CURRENT_DECAY,
    CURRENT_DRIVE,
    ADAPTATION_DECAY,
    ADAPTATION_INCREMENT
};


bool es_fires(const es_population *population, int32_t membrane, int32_t threshold)
{
    return population->level_max != 0 && /* else it is a leaky integrator */
           membrane > threshold - (population->compare == ES_FIRES_FROM);
}

static int32_t decayed_once(int32_t membrane, int32_t decay, uint8_t rounding)
{
    int64_t product = (int64_t)membrane * decay;

    if (rounding == ES_DECAY_NONE)
        return membrane;
    if (rounding == ES_DECAY_NEAREST)
        product += (int64_t)1 << 29;
    else if (rounding == ES_DECAY_TOWARD_ZERO && product < 0)
        product += ((int64_t)1 << 30) - 1;
    return (int32_t)(product >> 30);
}

/* The nearer a membrane is to 0, the less a tick changes it: so where the first
 * and the last of several ticks make the same change, all of them do. That many
 * ticks are one addition, and each time twice as many are tried. A long silence
 * takes a short time, and no bit differs from ticks one by one. */
int32_t es_decayed(int32_t membrane, int32_t decay, uint8_t rounding, uint32_t ticks)
{
    uint32_t together = 1;

    while (ticks > 0) {
        int64_t change = (int64_t)decayed_once(membrane, decay, rounding) - membrane;
        int64_t last;
        if (change == 0)
            break;
        if (together > ticks)
            together = ticks;
        last = membrane + (together - 1) * change;
        if (together > 1 && ((last < 0) != (membrane < 0) ||
                             decayed_once((int32_t)last, decay, rounding) - last != change)) {
            together /= 2;
            continue;
        }
        membrane = (int32_t)(last + change);
        ticks -= together;
        if (together < (uint32_t)1 << 30)
            together *= 2;
    }
    return membrane;
}

static const int32_t *decay_of(const es_model *model, const es_population *population)
{
    return es_parameters(model, population) + (size_t)DECAY * population->parameter_count;
}

static void decay_neurons(const es_net *net, uint32_t number, uint32_t pixel, uint32_t ticks)
{
    const es_population *population = &net->model->populations[number];
    uint32_t neuron = pixel * population->channels;
    int32_t *membranes = (int32_t *)(void *)es_buffer_of(net, number, ES_ACCUMULATORS) + neuron;
    const int32_t *decay = decay_of(net->model, population);

    if (population->parameter_count != population->channels)
        decay += neuron;
    for (uint32_t i = 0; i < population->channels; i++)
        membranes[i] = es_decayed(membranes[i], decay[i], population->rounding, ticks);
}

/* Brings a pixel that has a stamp to where so many ticks have decayed. */
static void catch_up(const es_net *net, uint32_t number, uint32_t pixel, uint32_t ticks)
{
    uint32_t *stamp = (uint32_t *)(void *)es_buffer_of(net, number, ES_STAMPS) + pixel;

    if (*stamp != ticks)
        decay_neurons(net, number, pixel, ticks - *stamp);
    *stamp = ticks;
}

void es_decay_pixel(es_net *net, uint32_t number, uint32_t pixel)
{
    const uint32_t *touched = (const uint32_t *)(const void *)es_buffer_of(net, number, ES_TOUCHED);
    const es_population *population = &net->model->populations[number];

    if (es_has_stamps(population)) /* as many as the window has had ticks, with the open one */
        catch_up(net, number, pixel, net->tick - net->window_start + 1);
    else if ((touched[pixel / 32] >> pixel % 32 & 1) == 0) /* once every tick, before it is marked or in its turn */
        decay_neurons(net, number, pixel, 1);
}

static int32_t spikes_of(const es_population *population, int32_t membrane, int32_t threshold)
{
    int32_t spikes;

    if (!es_fires(population, membrane, threshold))
        return 0;
    spikes = (membrane - (population->compare == ES_FIRES_ABOVE)) / threshold;
    return spikes < population->level_max ? spikes : population->level_max;
}

static int32_t clamp(int32_t value, int32_t least, int32_t greatest)
{
    if (value < least)
        return least;
    return value > greatest ? greatest : value;
}

static int32_t sum(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* A membrane after spikes, not clamped. */
static int32_t after_reset(const es_population *population, int32_t membrane, int32_t spikes, int32_t threshold,
                           int32_t reset_value)
{
    if (spikes > 0 && population->reset == ES_RESET_TO_VALUE)
        return reset_value;
    if (population->reset == ES_RESET_SUBTRACT)
        return (int32_t)((uint32_t)membrane - (uint32_t)spikes * (uint32_t)threshold);
    return membrane;
}

/* What the output keeps of a neuron's tick. */
static void keep_score(const es_work *work, uint32_t neuron, int32_t spikes, int32_t membrane)
{
    uint32_t tick = work->net->tick - work->net->window_start;
    int32_t *score;

    if (!work->scores)
        return;
    score = work->scores + neuron;
    if (work->population->readout == ES_READ_SPIKES)
        *score = sum(*score, spikes);
    else if (work->population->readout == ES_READ_GREATEST)
        *score = membrane > *score ? membrane : *score;
    else if (spikes > 0 && *score == INT32_MIN) /* the first spike */
        *score = tick < INT32_MAX ? -(int32_t)tick : -INT32_MAX;
}

/* What reached a group, where it makes no neuron fire: most of the time. Returns whether one fires; then
 * nothing is done yet. */
static bool integrate_quietly(const es_population *population, int32_t *restrict membranes,
                              const int32_t *restrict thresholds, const int32_t *restrict drives, uint32_t count)
{
    int32_t from = population->compare == ES_FIRES_FROM;
    int32_t fires = 0;

    for (uint32_t i = 0; i < count; i++)
        fires |= sum(membranes[i], drives[i]) > thresholds[i] - from;
    if (fires && population->level_max != 0)
        return true;
    for (uint32_t i = 0; i < count; i++)
        membranes[i] = clamp(sum(membranes[i], drives[i]), population->membrane_min, population->membrane_max);
    return false;
}

/* Returns whether some neuron of the group would fire again without input. */
static ES_APART bool evaluate_integrate_and_fire(const es_work *work, const es_group *group, es_pixel_events *events)
{
    const es_population *population = work->population;
    const int32_t *thresholds = parameters_of(work, group);
    const int32_t *drives = thresholds + (size_t)DRIVE * population->parameter_count;
    const int32_t *reset_values = thresholds + (size_t)RESET_VALUE * population->parameter_count;
    uint32_t neuron = first_neuron(work, group);
    int32_t *membranes = (int32_t *)(void *)work->accumulators + neuron;
    bool again = false;

    if (!work->scores && !integrate_quietly(population, membranes, thresholds, drives, group->count))
        return false;
    for (uint32_t i = 0; i < group->count; i++) {
        int32_t membrane = sum(membranes[i], drives[i]);
        int32_t spikes = spikes_of(population, membrane, thresholds[i]);
        if (spikes > 0) {
            append(events, group->first + i, spikes);
            membrane = after_reset(population, membrane, spikes, thresholds[i], reset_values[i]);
        }
        membranes[i] = clamp(membrane, population->membrane_min, population->membrane_max);
        keep_score(work, neuron + i, spikes, membranes[i]);
        again |= es_fires(population, membranes[i], thresholds[i]);
    }
    return again;
}

/* ---- with a synaptic current ------------------------------------------- */

/* One neuron in its tick. */
typedef struct es_cell {
    const int32_t *parameters; /* of the first array; the next ones lie parameter_count apart */
    int32_t membrane;
    int32_t current;
    int32_t adaptation;
    uint32_t refractory;
    int32_t spikes;
} es_cell;

static int32_t parameter(const es_population *population, const es_cell *cell, uint32_t array)
{
    return cell->parameters[(size_t)array * population->parameter_count];
}

static void adapt(const es_population *population, es_cell *cell, int32_t spikes)
{
    int64_t raised;
    int32_t room;

    if (!es_has_adaptation(population))
        return;
    raised = cell->adaptation + (int64_t)spikes * parameter(population, cell, ADAPTATION_INCREMENT);
    room = INT32_MAX - parameter(population, cell, THRESHOLD);
    cell->adaptation = raised < room ? (int32_t)raised : room;
}

/* The tick of a neuron that is not refractory. `due` spikes of the last tick reset in this one. */
static void integrate_and_fire(const es_population *population, es_cell *cell, int32_t due)
{
    int32_t threshold = parameter(population, cell, THRESHOLD) + cell->adaptation;
    int32_t reset_value = parameter(population, cell, RESET_VALUE);
    int32_t membrane = decayed_once(cell->membrane, parameter(population, cell, DECAY), population->rounding);

    membrane = sum(sum(membrane, cell->current), parameter(population, cell, DRIVE));
    membrane = after_reset(population, membrane, due, threshold, reset_value);
    cell->spikes = spikes_of(population, membrane, threshold);
    if (cell->spikes > 0 && !(population->flags & ES_FLAG_RESET_DELAYED)) {
        membrane = after_reset(population, membrane, cell->spikes, threshold, reset_value);
        adapt(population, cell, cell->spikes);
        cell->refractory = population->refractory;
    }
    cell->membrane = clamp(membrane, population->membrane_min, population->membrane_max);
}

/* Returns whether the neuron works in the next tick without input. */
static bool step_cell(const es_population *population, es_cell *cell)
{
    int32_t threshold = parameter(population, cell, THRESHOLD);
    int32_t due = 0;

    if (population->flags & ES_FLAG_RESET_DELAYED)
        due = spikes_of(population, cell->membrane, threshold + cell->adaptation);
    if (es_has_adaptation(population)) {
        cell->adaptation = decayed_once(cell->adaptation, parameter(population, cell, ADAPTATION_DECAY),
                                        population->adaptation_rounding);
        adapt(population, cell, due);
    }
    cell->current = sum(cell->current, parameter(population, cell, CURRENT_DRIVE));
    if (cell->refractory > 0)
        cell->refractory--;
    else
        integrate_and_fire(population, cell, due);
    cell->current = decayed_once(cell->current, parameter(population, cell, CURRENT_DECAY),
                                 population->current_rounding);
    return cell->current != 0 || cell->adaptation != 0 || cell->refractory != 0 ||
           es_fires(population, cell->membrane, threshold + cell->adaptation);
}

/* The same as evaluate_integrate_and_fire for neurons that have more state. */
static ES_APART bool evaluate_with_currents(const es_work *work, const es_group *group, es_pixel_events *events)
{
    const int32_t *parameters = parameters_of(work, group);
    int32_t *membranes = (int32_t *)(void *)work->accumulators;
    uint32_t neuron = first_neuron(work, group);
    bool again = false;

    for (uint32_t i = 0; i < group->count; i++, neuron++) {
        es_cell cell = {parameters + i, membranes[neuron], work->currents[neuron], 0, 0, 0};
        if (work->adaptations)
            cell.adaptation = work->adaptations[neuron];
        if (work->refractory)
            cell.refractory = work->refractory[neuron];
        if (step_cell(work->population, &cell))
            again = true;
        membranes[neuron] = cell.membrane;
        work->currents[neuron] = cell.current;
        if (work->adaptations)
            work->adaptations[neuron] = cell.adaptation;
        if (work->refractory)
            work->refractory[neuron] = (uint16_t)cell.refractory;
        if (cell.spikes > 0)
            append(events, group->first + i, cell.spikes);
        keep_score(work, neuron, cell.spikes, cell.membrane);
    }
    return again;
}

/* ---- a population ------------------------------------------------------ */

/* Membranes that take in a current step by themselves; what they slept over comes before. */
static void bring_to_tick(es_net *net, const es_work *work, uint32_t pixel)
{
    uint32_t closed = net->tick - net->window_start;

    if (!es_decays(work->population))
        return;
    if (!es_has_currents(work->population)) {
        es_decay_pixel(net, work->number, pixel);
    } else if (es_has_stamps(work->population)) {
        uint32_t *stamps = (uint32_t *)(void *)es_buffer_of(net, work->number, ES_STAMPS);
        catch_up(net, work->number, pixel, closed);
        stamps[pixel] = closed + 1;
    }
}

/* Evaluates one pixel and sends what changed. Returns whether it works again in
 * the next tick by itself. */
static bool evaluate_pixel(es_net *net, const es_work *work, uint32_t pixel, uint32_t y, uint32_t x)
{
    const es_population *population = work->population;
    es_group group = {pixel, y, x, 0, 0};
    es_pixel_events events;
    bool again = false;

    bring_to_tick(net, work, pixel);
    events.y = y;
    events.x = x;
    for (; group.first < population->channels; group.first += group.count) {
        group.count = population->channels - group.first;
        if (group.count > ES_GROUP)
            group.count = ES_GROUP;
        events.count = 0;
        if (es_has_currents(population))
            again |= evaluate_with_currents(work, &group, &events);
        else if (es_is_spiking(population))
            again |= evaluate_integrate_and_fire(work, &group, &events);
        else
            tell_levels(work, &group, &events);
        if (events.count > 0)
            es_project(net, work->number, &events);
    }
    return again;
}

/* Evaluates the pixels whose bits are set, from `pixel` on. Returns the bits of
 * those that work again. */
static uint32_t evaluate_pixels(es_net *net, const es_work *work, uint32_t pixel, uint32_t bits)
{
    uint32_t width = work->population->width;
    uint32_t y = pixel / width;
    uint32_t x = pixel % width;
    uint32_t again = 0;

    for (uint32_t bit = 1; bits != 0; bit <<= 1, bits >>= 1) {
        if ((bits & 1) && evaluate_pixel(net, work, pixel, y, x))
            again |= bit;
        pixel++;
        if (++x == width) {
            x = 0;
            y++;
        }
    }
    return again;
}

static void begin(es_work *work, const es_net *net, uint32_t number)
{
    const es_model *model = net->model;

    memset(work, 0, sizeof *work);
    work->net = net;
    work->number = number;
    work->population = &model->populations[number];
    work->accumulators = es_buffer_of(net, number, ES_ACCUMULATORS);
    if (es_keeps_scores(model, number))
        work->scores = (int32_t *)(void *)es_buffer_of(net, number, ES_SCORES);
    else if (es_has_levels(work->population))
        work->levels = es_buffer_of(net, number, ES_LEVELS);
    if (es_has_currents(work->population)) {
        work->currents = (int32_t *)(void *)es_buffer_of(net, number, ES_CURRENTS);
        work->adaptations = (int32_t *)(void *)es_buffer_of(net, number, ES_ADAPTATION);
        work->refractory = (uint16_t *)(void *)es_buffer_of(net, number, ES_REFRACTORY);
    }
    work->parameters = es_parameters(model, work->population);
    work->initial = es_initial_of(model, work->population);
    work->incoming = es_first_incoming(model, number);
}

#if ES_WITH_SPEED
/* Whether levels are quotients from 0 on, and four of them an aligned word: so are those of most networks. */
static bool has_quotients(const es_population *population)
{
    return population->kind == ES_ACTIVATION && population->level_bytes == 1 && population->level_min == 0 &&
           !es_has_table(population) && population->channels % 4 == 0;
}

static es_quotients quotients_of(const es_work *work)
{
    const es_population *population = work->population;
    es_quotients quotients;

    quotients.accumulators = (const uint32_t *)(const void *)work->accumulators;
    quotients.steps = work->parameters;
    quotients.kept = work->levels;
    quotients.shift = population->level_shift;
    quotients.greatest = population->level_max;
    quotients.paired = es_has_pairs(population);
    quotients.by_channel = population->parameter_count == population->channels;
    return quotients;
}

/* The pixels of such a population, one after the other. */
typedef struct es_telling {
    es_quotients quotients;
    const es_route *route; /* where all events go, if that is one way */
    uint64_t events;       /* sent along the route */
    uint64_t reached;
} es_telling;

static void tell_pixel(es_telling *telling, es_net *net, const es_work *work, uint32_t pixel, es_pixel_events *events)
{
    uint32_t channels = work->population->channels, neuron = pixel * channels;
    const uint8_t *told = work->levels ? work->levels + neuron : initial_levels(work, events->y, events->x);

    for (uint32_t first = 0; first < channels; first += ES_GROUP) {
        uint32_t count = channels - first < ES_GROUP ? channels - first : ES_GROUP;
        es_tell_quotients(&telling->quotients, neuron + first, first, count, told + first, events);
        if (events->count == 0)
            continue;
        if (telling->route) {
            telling->events += events->count;
            telling->reached += es_project_along(net, telling->route, events);
        } else {
            es_project(net, work->number, events);
        }
    }
}

/* Evaluates the touched pixels. */
static void tell_population(es_net *net, const es_work *work, uint32_t *touched, uint32_t pixels)
{
    uint32_t width = work->population->width;
    es_pixel_events events;
    es_telling telling = {quotients_of(work), NULL, 0, 0};
    es_route route;

    telling.route = es_only_route(net, work->number, &route);
    for (uint32_t first = 0; first < pixels; first += 32) {
        uint32_t bits = touched[first / 32];
        touched[first / 32] = 0;
        events.y = first / width;
        events.x = first % width;
        for (uint32_t pixel = first; bits != 0; bits >>= 1, pixel++) {
            if (bits & 1)
                tell_pixel(&telling, net, work, pixel, &events);
            if (++events.x == width) {
                events.x = 0;
                events.y++;
            }
        }
    }
    es_count(net, work->number, telling.events, telling.reached);
}
#endif

bool es_evaluate(es_net *net, uint32_t number)
{
    uint32_t *touched = (uint32_t *)(void *)es_buffer_of(net, number, ES_TOUCHED);
    const es_population *population = &net->model->populations[number];
    uint32_t pixels = es_pixel_count(population);
    bool driven = es_works_every_tick(population);
    bool again = false;
    es_work work;

    begin(&work, net, number);
    if (population->kind == ES_ACCUMULATOR) { /* only integrates */
        memset(touched, 0, (size_t)(pixels + 31) / 32 * sizeof *touched);
        return false;
    }
#if ES_WITH_SPEED
    if (has_quotients(population)) {
        tell_population(net, &work, touched, pixels);
        return false;
    }
#endif
    for (uint32_t first = 0; first < pixels; first += 32) {
        uint32_t all = pixels - first < 32 ? ((uint32_t)1 << (pixels - first)) - 1 : UINT32_MAX;
        uint32_t bits = driven ? all : touched[first / 32];
        if (bits != 0) {
            uint32_t bits_again = evaluate_pixels(net, &work, first, bits);
            touched[first / 32] = driven ? 0 : bits_again;
            again |= bits_again != 0;
        }
    }
    return again || driven;
}

void es_decay_population(es_net *net, uint32_t number)
{
    const es_population *population = &net->model->populations[number];

    uint32_t closed = net->tick - net->window_start;

    if (es_has_stamps(population))
        for (uint32_t pixel = 0; pixel < es_pixel_count(population); pixel++)
            catch_up(net, number, pixel, es_has_currents(population) ? closed : closed + 1);
}

/* ---- views ------------------------------------------------------------- */

static int32_t membrane_at_rest(const es_net *net, uint32_t number, uint32_t neuron)
{
    const es_population *population = &net->model->populations[number];
    const int32_t *membranes = (const int32_t *)(const void *)es_buffer_of(net, number, ES_ACCUMULATORS);
    const uint32_t *stamps = (const uint32_t *)(const void *)es_buffer_of(net, number, ES_STAMPS);
    const int32_t *decay = decay_of(net->model, population);
    uint32_t closed = net->tick - net->window_start;
    uint32_t stamp;

    if (!stamps)
        return membranes[neuron];
    if (es_is_decided(net))
        closed = net->decided;
    stamp = stamps[neuron / population->channels];
    if (stamp == closed + 1) /* the open tick has begun for this pixel */
        return membranes[neuron];
    return es_decayed(membranes[neuron], decay[neuron % population->parameter_count], population->rounding,
                      closed - stamp);
}

int32_t es_neuron_state(const es_net *net, uint32_t number, uint32_t neuron)
{
    const es_population *population = &net->model->populations[number];
    const uint8_t *levels = es_buffer_of(net, number, ES_LEVELS);
    const uint8_t *accumulators = es_buffer_of(net, number, ES_ACCUMULATORS);

    if (es_has_levels(population)) {
        uint32_t stored = es_stored_level(levels, population->level_bytes, neuron);
        return number == 0 ? es_input_level(net->model, neuron % population->channels, stored)
                           : population->level_min + (int32_t)stored;
    }
    if (es_is_spiking(population))
        return membrane_at_rest(net, number, neuron);
    return accumulators ? es_accumulator(population, accumulators, neuron) : 0;
}

int32_t es_neuron_score(const es_net *net, uint32_t number, uint32_t neuron)
{
    const es_population *population = &net->model->populations[number];

    if (es_keeps_scores(net->model, number))
        return ((const int32_t *)(const void *)es_buffer_of(net, number, ES_SCORES))[neuron];
    if (es_has_levels(population) && es_is_one_shot(net)) { /* levels were told, not kept */
        es_work work;
        uint32_t pixel = neuron / population->channels;
        es_group group = {pixel, pixel / population->width, pixel % population->width,
                          neuron % population->channels, 1};
        uint16_t now;
        begin(&work, net, number);
        present_levels(&work, &group, &now);
        return population->level_min + now;
    }
    return es_neuron_state(net, number, neuron);
}
