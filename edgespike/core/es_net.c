/* The network: ticks, windows, and what a user calls. */
#include "es_internal.h"

enum { OPEN, WINDOW, FINISHED }; /* es_net.state; WINDOW: ended, its output is kept */

/* ---- state ------------------------------------------------------------- */

static void clear(const es_net *net, uint32_t number, es_buffer kind, size_t bytes)
{
    uint8_t *buffer = es_buffer_of(net, number, kind);

    if (buffer)
        memset(buffer, 0, bytes);
}

/* What integrate-and-fire neurons have beside their membranes, and the scores. */
static void clear_neurons(const es_net *net, uint32_t number)
{
    const es_population *population = &net->model->populations[number];
    uint32_t neurons = es_neuron_count(population);
    int32_t least = population->readout == ES_READ_FIRST ? INT32_MIN : 0;

    if (population->readout == ES_READ_GREATEST)
        least = population->membrane_min;

    clear(net, number, ES_CURRENTS, neurons * sizeof(int32_t));
    clear(net, number, ES_ADAPTATION, neurons * sizeof(int32_t));
    clear(net, number, ES_REFRACTORY, neurons * sizeof(uint16_t));
    if (es_keeps_scores(net->model, number))
        for (uint32_t neuron = 0; neuron < neurons; neuron++)
            ((int32_t *)(void *)es_buffer_of(net, number, ES_SCORES))[neuron] = least;
}

static void load_accumulators(const es_net *net, uint32_t number)
{
    const es_population *population = &net->model->populations[number];

    if (es_has_accumulators(population))
        es_initial_spread_accumulators(net->model, population, es_buffer_of(net, number, ES_ACCUMULATORS));
}

static void load_levels(const es_net *net, uint32_t number)
{
    const es_population *population = &net->model->populations[number];
    uint8_t *levels = es_buffer_of(net, number, ES_LEVELS);

    if (es_has_levels(population) && levels)
        es_initial_spread_levels(net->model, population, levels);
}

/* In the one-shot plan a step brings to life the accumulators that get their
 * first input in it. */
static void load_targets(const es_net *net, uint32_t source)
{
    for (uint32_t number = source + 1; number < net->model->population_count; number++)
        if (es_first_incoming(net->model, number)->source == source)
            load_accumulators(net, number);
}

/* The initial state, for a window that begins with the open tick. */
static void open_window(es_net *net)
{
    const es_model *model = net->model;

    net->window_start = net->tick;
    net->tick_input = 0;
    net->under_way = 0;
    net->pending = false;
    net->look = es_exits_early(model);
    net->decided = 0;
    net->state = OPEN;
    if (es_pc_open(net))
        return;
    for (uint32_t number = 0; number < model->population_count; number++) {
        const es_population *population = &model->populations[number];
        clear(net, number, ES_TOUCHED, (es_pixel_count(population) + 31) / 32 * sizeof(uint32_t));
        clear(net, number, ES_STAMPS, es_pixel_count(population) * sizeof(uint32_t));
        clear_neurons(net, number);
        es_inbox_clear(net, number);
        if (!es_is_one_shot(net))
            load_accumulators(net, number);
        if (!es_is_one_shot(net) || number == 0)
            load_levels(net, number);
        net->pending = net->pending || es_works_every_tick(population);
    }
    if (es_is_one_shot(net))
        load_targets(net, 0);
}

/* ---- time -------------------------------------------------------------- */

/* Evaluates everything that was touched, in order. */
static void settle(es_net *net)
{
    bool again = false;

    for (uint32_t number = 1; number < net->model->population_count; number++) {
        if (es_is_one_shot(net)) {
            load_levels(net, number);
            load_targets(net, number);
        }
        if (ES_WITH_DELAYS && es_buffer_of(net, number, ES_INBOX))
            es_deliver(net, number);
        if (!es_pc_evaluate(net, number))
            again |= es_evaluate(net, number);
    }
    net->pending = again || net->under_way != 0;
    if (net->under_way != 0)
        net->under_way--;
}

static void pass_ticks(es_net *net, uint32_t ticks)
{
    net->tick += ticks;
    net->tick_input = 0;
    net->stats.ticks += ticks;
}

/* Before the ticks of a window, counted in 32 bits, pass half of their range, all
 * stamps are renewed: none grows so old that its age cannot be told. */
static void renew_stamps(es_net *net, uint32_t tick)
{
    if (((net->tick - net->window_start) ^ (tick - net->window_start)) >> 31)
        for (uint32_t number = 1; number < net->model->population_count; number++)
            es_decay_population(net, number);
}

/* Closes the ticks before `tick`, until they decide the window. The one-shot plan settles only at the end. */
static void close_ticks(es_net *net, uint32_t tick)
{
    renew_stamps(net, tick);
    while (net->tick != tick && !es_is_decided(net)) {
        uint32_t ticks = tick - net->tick;
        if (net->pending && !es_is_one_shot(net)) {
            settle(net);
            net->look = es_exits_early(net->model);
            ticks = 1;
        } else if (ES_WITH_EARLY_EXIT && net->look && es_ticks_to_look(net) < ticks) {
            ticks = es_ticks_to_look(net);
        }
        pass_ticks(net, ticks);
        if (ES_WITH_EARLY_EXIT && net->look)
            es_look(net);
    }
}

/* ---- windows ------------------------------------------------------------ */

/* Ticks wrap around at 2^32; what lies less than half of that ahead is later. */
static bool is_earlier(const es_net *net, uint32_t tick)
{
    return tick - net->tick > INT32_MAX;
}

static bool leaves_window(const es_net *net, uint32_t tick)
{
    uint32_t window_ticks = net->model->input->window_ticks;

    return window_ticks != 0 && tick - net->tick >= window_ticks - (net->tick - net->window_start);
}

/* Opens the next window if none is open, or where a decided one ends if `tick` lies behind it.
 * Returns whether the window is decided: then the rest of it, up to `tick`, is skipped. */
static bool skips(es_net *net, uint32_t tick)
{
    if (net->state == WINDOW)
        open_window(net);
    if (es_is_decided(net) && leaves_window(net, tick)) {
        net->tick = net->window_start + net->model->input->window_ticks;
        open_window(net);
    }
    if (es_is_decided(net))
        net->tick = tick;
    return es_is_decided(net);
}

/* Where to stop on the way to `tick`: at the end of the window. */
static uint32_t stop_before(const es_net *net, uint32_t tick)
{
    return leaves_window(net, tick) ? net->window_start + net->model->input->window_ticks : tick;
}

/* After ticks were closed: ES_WINDOW if the window is at its end, or decided. */
static int told(es_net *net)
{
    uint32_t window_ticks = net->model->input->window_ticks;

    if (!es_is_decided(net)) {
        if (window_ticks == 0 || net->tick - net->window_start != window_ticks)
            return ES_OK;
        if (es_is_one_shot(net))
            settle(net);
        net->state = WINDOW;
    }
    net->stats.windows++;
    return ES_WINDOW;
}

/* ---- calls ------------------------------------------------------------- */

int es_arena_size(const es_model *model, es_plan plan, uint32_t *size)
{
    const es_header *header = (const es_header *)(const void *)model->data;

    if (plan != ES_PLAN_STREAMING && (plan != ES_PLAN_ONE_SHOT || header->one_shot_bytes == 0))
        return ES_ERR_ARGUMENT;
    if (plan == ES_PLAN_ONE_SHOT && !ES_WITH_ONE_SHOT)
        return ES_ERR_LEFT_OUT;
    *size = plan == ES_PLAN_STREAMING ? header->streaming_bytes : header->one_shot_bytes;
    return ES_OK;
}

int es_net_init(es_net *net, const es_model *model, es_plan plan, void *arena, size_t arena_size)
{
    uint32_t size;
    uint32_t *table;
    uint64_t end;
    int status = es_arena_size(model, plan, &size);

    if (status != ES_OK)
        return status;
    if ((uintptr_t)arena % ES_ALIGNMENT != 0)
        return ES_ERR_ALIGN;
    if (arena_size < size)
        return ES_ERR_ARENA;
    memset(net, 0, sizeof *net);
    net->model = model;
    net->arena = (uint8_t *)arena;
    net->plan = (uint8_t)plan;
    memset(arena, 0, (size_t)model->population_count *
                         (ES_BUFFER_KINDS * sizeof(uint32_t) + sizeof(es_population_stats)));
    table = (uint32_t *)arena;
    end = es_is_one_shot(net) ? es_arena_one_shot(model, table) : es_arena_fixed(model, plan, table);
    if (end != size)
        return ES_ERR_HEADER;
    open_window(net);
    return ES_OK;
}

int es_net_reset(es_net *net)
{
    net->tick = 0;
    open_window(net);
    return ES_OK;
}

static int take(es_net *net, const es_event *event, const es_route *route)
{
    int status = ES_OK;

    if (ES_WITH_SPEED && event->tick == net->tick && net->state == OPEN && !es_is_decided(net)) { /* nothing to close */
        if (!es_input_contains(net->model, event))
            return ES_ERR_RANGE;
        status = es_input_check(net, event);
        if (status == ES_OK)
            es_input_take(net, event, route);
        return status;
    }
    if (is_earlier(net, event->tick))
        return ES_ERR_TIME;
    if (!es_input_contains(net->model, event))
        return ES_ERR_RANGE;
    if (skips(net, event->tick)) {
        net->stats.input_events++;
        return ES_OK;
    }
    if (!leaves_window(net, event->tick))
        status = es_input_check(net, event);
    if (status != ES_OK)
        return status;
    close_ticks(net, stop_before(net, event->tick));
    status = told(net);
    if (status == ES_OK)
        es_input_take(net, event, route);
    return status;
}

int es_net_push(es_net *net, const es_event *events, size_t count, size_t *used)
{
#if ES_WITH_SPEED
    es_route only;
    const es_route *route = es_only_route(net, 0, &only);
#else
    const es_route *route = NULL;
#endif

    *used = 0;
    if (net->state == FINISHED)
        return ES_ERR_STATE;
    for (; *used < count; ++*used) {
        size_t together = net->state == OPEN && !es_is_decided(net) ? es_pc_take(net, events + *used, count - *used) : 0;
        int status;
        if (together != 0 && (*used += together) == count)
            break;
        status = take(net, &events[*used], route);
        if (status != ES_OK)
            return status;
    }
    return ES_OK;
}

int es_net_advance(es_net *net, uint32_t tick)
{
    if (net->state == FINISHED)
        return ES_ERR_STATE;
    if (is_earlier(net, tick))
        return ES_ERR_TIME;
    if (skips(net, tick))
        return ES_OK;
    close_ticks(net, stop_before(net, tick));
    return told(net);
}

int es_net_finish(es_net *net)
{
    if (net->state == FINISHED)
        return ES_ERR_STATE;
    if (net->state == WINDOW)
        open_window(net);
    if (!es_is_decided(net))
        close_ticks(net, net->tick + 1);
    if (es_is_one_shot(net))
        settle(net);
    net->state = FINISHED;
    return ES_OK;
}

int es_net_output(const es_net *net, int32_t *scores, size_t count)
{
    uint32_t last = net->model->population_count - 1u;

    if (es_is_one_shot(net) && net->state == OPEN)
        return ES_ERR_STATE;
    if (count != es_output_size(net->model))
        return ES_ERR_ARGUMENT;
    for (uint32_t neuron = 0; neuron < count; neuron++)
        scores[neuron] = es_neuron_score(net, last, neuron);
    return ES_OK;
}

int es_net_state(const es_net *net, uint32_t population, int32_t *values, size_t count)
{
    if (es_is_one_shot(net))
        return ES_ERR_STATE;
    if (count == 0 || count != es_population_size(net->model, population))
        return ES_ERR_ARGUMENT;
    for (uint32_t neuron = 0; neuron < count; neuron++)
        values[neuron] = es_neuron_state(net, population, neuron);
    return ES_OK;
}

int es_net_population_stats(const es_net *net, uint32_t population, uint64_t *events, uint64_t *synops)
{
    if (population >= net->model->population_count)
        return ES_ERR_ARGUMENT;
    *events = es_stats_of(net, population)->events;
    *synops = es_stats_of(net, population)->synops;
    return ES_OK;
}

void es_net_clear_stats(es_net *net)
{
    memset(&net->stats, 0, sizeof net->stats);
    memset(es_stats_of(net, 0), 0, net->model->population_count * sizeof(es_population_stats));
}

int es_net_self_test(es_net *net, int32_t *scores, size_t count)
{
    const es_test *test = (const es_test *)(const void *)net->model->test;
    size_t used;
    int status;

    es_net_reset(net);
    if (net->model->test_size == 0)
        return ES_OK;
    status = es_net_push(net, es_test_events(test), test->event_count, &used);
    if (status == ES_OK || status == ES_WINDOW) /* decided: the rest would be skipped */
        status = es_net_finish(net);
    if (status == ES_OK)
        status = es_net_output(net, scores, count);
    if (status == ES_OK && es_crc32(0, scores, count * sizeof *scores) != test->digest)
        status = ES_ERR_DIGEST;
    es_net_reset(net);
    return status;
}
