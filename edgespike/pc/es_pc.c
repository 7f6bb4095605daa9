/* A network at work in bulk: evaluates populations as a whole, and says how what changed is sent. */
#include "es_pc.h"

/* ---- sending ------------------------------------------------------------ */

/* Nanoseconds, roughly, that an event costs by itself, and each target that it reaches. */
#define EVENT_NANOSECONDS 20.0
#define TARGET_NANOSECONDS 0.25

static double cost_of_events(const es_pc *pc, uint32_t number, double events)
{
    return events * (EVENT_NANOSECONDS + TARGET_NANOSECONDS * pc->plan->populations[number].reach);
}

/* ---- counting ----------------------------------------------------------- */

/* Targets that the changes of a row reach across: `changed` of them, most at places like the middle one. */
static uint64_t reached_across(const es_pc *pc, const es_pc_projection *projection, const int16_t *row,
                               uint32_t changed, uint32_t width, uint32_t channels)
{
    uint32_t usual = projection->across[width / 2];
    uint64_t reached = (uint64_t)usual * changed;

    for (uint32_t x = 0; x < width; x++)
        if (projection->across[x] != usual)
            reached += (uint64_t)((int64_t)projection->across[x] - usual) *
                       pc->plan->kernels->count(row + (size_t)x * channels, channels);
    return reached;
}

static void count_sent(es_net *net, uint32_t number, const int16_t *differences, uint32_t count)
{
    const es_population *source = &net->model->populations[number];
    es_population_stats *stats = es_stats_of(net, number);
    uint32_t row = (uint32_t)source->width * source->channels;
    uint64_t reached = 0;

    for (uint32_t i = 0; i < source->projection_count; i++) {
        const es_pc_projection *projection = &net->pc->plan->projections[source->first_projection + i];
        for (uint32_t y = 0; y < source->height; y++)
            reached += (uint64_t)projection->length * projection->down[y] *
                       reached_across(net->pc, projection, differences + (size_t)y * row, net->pc->changed[y],
                                      source->width, source->channels);
    }
    stats->events += count;
    stats->synops += reached;
    net->stats.events += count;
    net->stats.synops += reached;
}

/* ---- sending as single events ------------------------------------------- */

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

static void project_all(es_net *net, uint32_t number, const int16_t *differences)
{
    const es_population *source = &net->model->populations[number];

    for (uint32_t y = 0; y < source->height; y++)
        for (uint32_t x = 0; x < source->width && net->pc->changed[y] != 0; x++)
            project_pixel(net, number, differences + ((size_t)y * source->width + x) * source->channels, y, x);
}

/* ---- evaluation ---------------------------------------------------------- */

static uint32_t count_bits(const uint32_t *words, uint32_t count)
{
    uint32_t bits = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t word = words[i] - (words[i] >> 1 & 0x55555555u);
        word = (word & 0x33333333u) + (word >> 2 & 0x33333333u);
        bits += ((word + (word >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
    }
    return bits;
}

static void activate_row(const es_net *net, uint32_t number, uint32_t y)
{
    const es_pc *pc = net->pc;
    const es_population *population = &net->model->populations[number];
    const es_pc_population *plan = &pc->plan->populations[number];
    const es_pc_kernels *kernels = pc->plan->kernels;
    const uint8_t *accumulators = es_buffer_of(net, number, ES_ACCUMULATORS);
    uint32_t count = (uint32_t)population->width * population->channels;
    size_t first = (size_t)y * count;
    size_t parameters = plan->whole_rows ? 0 : first;
    es_pc_steps steps;

    steps.step = plan->step + parameters;
    steps.low = plan->low + parameters;
    steps.high = plan->high + parameters;
    steps.reciprocal = plan->reciprocal + parameters;
    steps.most = (float)(population->level_max - population->level_min);
    steps.shift = population->level_shift;
    steps.quick = plan->quick;
    if (population->accumulator_bytes == 2) {
        int16_t *values = (int16_t *)(void *)pc->padded;
        kernels->unpair(values, (const uint32_t *)(const void *)accumulators + first / 2, count);
        kernels->levels_16(&steps, values, pc->now, count);
    } else {
        kernels->levels_32(&steps, (const int32_t *)(const void *)accumulators + first, pc->now, count);
    }
}

/* First the greatest of each source column, then of the columns of a window. */
static void pool_row(const es_net *net, uint32_t number, uint32_t y)
{
    const es_pc *pc = net->pc;
    const es_population *population = &net->model->populations[number];
    const es_projection *incoming = es_first_incoming(net->model, number);
    const es_population *source = &net->model->populations[incoming->source];
    const uint8_t *levels = es_buffer_of(net, incoming->source, ES_LEVELS);
    es_window down = es_window_of(incoming, 0, y, source->height);
    uint32_t channels = source->channels;
    uint32_t row = source->width * channels;

    memset(pc->padded, 0, row);
    for (uint32_t from = down.first; from < down.end; from += down.step)
        pc->plan->kernels->maximum(pc->padded, levels + (size_t)from * row, row);
    memset(pc->now, 0, (size_t)population->width * channels);
    for (uint32_t x = 0; x < population->width; x++) {
        es_window across = es_window_of(incoming, 1, x, source->width);
        for (uint32_t from = across.first; from < across.end; from += across.step)
            pc->plan->kernels->maximum(pc->now + (size_t)x * channels, pc->padded + (size_t)from * channels, channels);
    }
}

/* Keeps the present levels of all neurons and their differences. */
static es_pc_change evaluate_all(const es_net *net, uint32_t number)
{
    const es_pc *pc = net->pc;
    const es_population *population = &net->model->populations[number];
    uint8_t *told = es_buffer_of(net, number, ES_LEVELS);
    uint32_t row = (uint32_t)population->width * population->channels;
    es_pc_change all = {0, 0, 0};

    for (uint32_t y = 0; y < population->height; y++) {
        es_pc_change change;
        if (population->kind == ES_ACTIVATION)
            activate_row(net, number, y);
        else
            pool_row(net, number, y);
        change = pc->plan->kernels->differences(pc->differences + (size_t)y * row, told + (size_t)y * row, pc->now, row);
        pc->changed[y] = change.count;
        all.count += change.count;
        all.least = change.least < all.least ? change.least : all.least;
        all.greatest = change.greatest > all.greatest ? change.greatest : all.greatest;
    }
    return all;
}

/* In bulk from a quarter of the pixels on; the others are at rest and do not change. */
bool es_pc_evaluate(es_net *net, uint32_t number)
{
    const es_population *population = &net->model->populations[number];
    const es_pc *pc = net->pc;
    uint32_t pixels = es_pixel_count(population);
    uint32_t *touched = (uint32_t *)(void *)es_buffer_of(net, number, ES_TOUCHED);
    es_pc_change change;

    if (!pc || es_is_one_shot(net) || !pc->plan->populations[number].evaluated)
        return false;
    if (pixels >= 4 * pc->eagerness * count_bits(touched, (pixels + 31) / 32))
        return false;
    memset(touched, 0, (pixels + 31) / 32 * sizeof *touched);
    change = evaluate_all(net, number);
    if (change.count == 0)
        return true;
    if (pc->plan->populations[number].sent &&
        pc->plan->populations[number].cost < pc->eagerness * cost_of_events(pc, number, change.count)) {
        count_sent(net, number, pc->differences, change.count);
        es_pc_pass(net, number, pc->differences, change);
    } else {
        project_all(net, number, pc->differences);
    }
    return true;
}

/* ---- input --------------------------------------------------------------- */

/* Whether so many events of a tick are worth a dense pass. */
static bool are_many(const es_net *net, const es_event *events, size_t count)
{
    const es_pc *pc = net->pc;
    const es_population *input = &net->model->populations[0];
    double enough = pc->plan->populations[0].cost / (pc->eagerness * cost_of_events(pc, 0, 1.0));

    return pc->plan->populations[0].sent && input->kind == ES_LEVEL_INPUT && input->level_bytes == 1 &&
           input->level_max - input->level_min <= 255 && enough < (double)count &&
           events[(size_t)enough].tick == net->tick;
}

/* es_input.c for many events of one tick: the same checks and changes, with all that they look up kept at hand. */
typedef struct es_pc_input {
    uint8_t *levels;
    uint32_t height, width, channels;
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
    input.height = population->height;
    input.width = population->width;
    input.channels = spec->counts_events ? 2 : population->channels;
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
static bool note(const es_pc_input *input, uint32_t channels, const es_event *event, uint32_t *neuron,
                 int32_t *difference)
{
    uint32_t channel = event->channel;
    int32_t before, after;

    if (event->y >= input->height || event->x >= input->width || channel >= input->channels)
        return false;
    if (input->counts)
        channel = input->first_channel + (input->count_row ? channel : 0);
    *neuron = (event->y * input->width + event->x) * channels + channel;
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
static uint32_t reached_from(const es_net *net, uint32_t y, uint32_t x)
{
    const es_population *input = &net->model->populations[0];
    const es_pc_projection *projection = net->pc->plan->projections + input->first_projection;
    uint32_t reached = 0;

    for (uint32_t i = 0; i < input->projection_count; i++, projection++)
        reached += projection->length * projection->down[y] * projection->across[x];
    return reached;
}

size_t es_pc_take(es_net *net, const es_event *events, size_t count)
{
    uint32_t channels = net->model->populations[0].channels;
    es_pc_change change = {0, 0, 0};
    es_pc_input input;
    uint64_t reached = 0;
    size_t taken;

    if (!net->pc || es_is_one_shot(net) || !are_many(net, events, count))
        return 0;
    input = input_of(net);
    for (taken = 0; taken < count && events[taken].tick == net->tick; taken++) {
        const es_event *event = &events[taken];
        uint32_t neuron;
        int32_t difference;
        if (!note(&input, channels, event, &neuron, &difference))
            break;
        if (difference == 0)
            continue;
        change.count++;
        reached += reached_from(net, event->y, event->x);
        difference += net->pc->noted[neuron];
        net->pc->noted[neuron] = (int16_t)difference;
        change.least = difference < change.least ? difference : change.least;
        change.greatest = difference > change.greatest ? difference : change.greatest;
    }
    net->stats.input_events += taken;
    net->stats.events += change.count;
    net->stats.synops += reached;
    es_stats_of(net, 0)->events += change.count;
    es_stats_of(net, 0)->synops += reached;
    if (change.count != 0) {
        es_pc_pass(net, 0, net->pc->noted, change);
        memset(net->pc->noted, 0, es_neuron_count(&net->model->populations[0]) * sizeof *net->pc->noted);
    }
    return taken;
}

/* ---- beginning ----------------------------------------------------------- */

static size_t image_start(const es_net *net)
{
    return (size_t)net->model->population_count * (ES_BUFFER_KINDS * sizeof(uint32_t) + sizeof(es_population_stats));
}

static size_t image_size(const es_net *net)
{
    uint32_t size = 0;

    es_arena_size(net->model, (es_plan)net->plan, &size);
    return size - image_start(net);
}

static size_t rounded(size_t bytes)
{
    return (bytes + 127) / 64 * 64; /* dot products read some bytes beyond the end */
}

size_t es_pc_size(const es_pc_plan *plan, const es_net *net)
{
    size_t input = es_neuron_count(&net->model->populations[0]);

    return rounded(image_size(net)) + rounded(input * sizeof(int16_t)) + rounded(plan->greatest * sizeof(int16_t)) +
           rounded(plan->tallest * sizeof(uint32_t)) + rounded(plan->greatest) +
           rounded((plan->padded + plan->greatest) * sizeof(int16_t)) + rounded(plan->row * sizeof(int32_t));
}

static void *cut_off(uint8_t **memory, size_t bytes)
{
    void *place = *memory;

    *memory += rounded(bytes);
    return place;
}

void es_pc_attach(es_pc *pc, es_net *net, const es_pc_plan *plan, void *memory)
{
    uint8_t *rest = (uint8_t *)memory;
    size_t input = es_neuron_count(&net->model->populations[0]);

    memset(memory, 0, es_pc_size(plan, net));
    memset(pc, 0, sizeof *pc);
    pc->plan = plan;
    pc->eagerness = 1.0;
    pc->image = (uint8_t *)cut_off(&rest, image_size(net));
    pc->noted = (int16_t *)cut_off(&rest, input * sizeof *pc->noted);
    pc->differences = (int16_t *)cut_off(&rest, plan->greatest * sizeof *pc->differences);
    pc->changed = (uint32_t *)cut_off(&rest, plan->tallest * sizeof *pc->changed);
    pc->now = (uint8_t *)cut_off(&rest, plan->greatest);
    pc->padded = (uint8_t *)cut_off(&rest, (plan->padded + plan->greatest) * sizeof(int16_t));
    pc->sums = (int32_t *)cut_off(&rest, plan->row * sizeof *pc->sums);
    memcpy(pc->image, net->arena + image_start(net), image_size(net));
    net->pc = pc;
}

bool es_pc_open(es_net *net)
{
    if (!net->pc)
        return false;
    memcpy(net->arena + image_start(net), net->pc->image, image_size(net));
    for (uint32_t number = 0; number < net->model->population_count; number++)
        net->pending = net->pending || es_works_every_tick(&net->model->populations[number]);
    return true;
}
