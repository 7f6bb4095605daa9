/* Projections: from the events of one pixel to all their targets. */
#include "es_internal.h"

enum { DOWN, ACROSS }; /* axes of a kernel */

/* ---- targets ----------------------------------------------------------- */

static void find_present_target(const es_net *net, uint32_t number, es_target *target)
{
    const es_population *population = &net->model->populations[number];
    bool has_currents = es_has_currents(population);

    target->population = population;
    target->number = number;
    target->accumulators = es_buffer_of(net, number, has_currents ? ES_CURRENTS : ES_ACCUMULATORS);
    target->touched = (uint32_t *)(void *)es_buffer_of(net, number, ES_TOUCHED);
    target->decays = es_decays(population) && !has_currents;
}

static void find_target(es_net *net, const es_projection *projection, es_target *target)
{
    find_present_target(net, projection->target, target);
    if (ES_WITH_DELAYS && projection->delay != 0) {
        es_inbox_slot slot = es_inbox_slot_of(net, projection->target, projection->delay);
        target->accumulators = slot.values;
        target->touched = slot.touched;
        target->decays = false;
        if (net->under_way < projection->delay)
            net->under_way = projection->delay;
    }
}

/* Marks `run` pixels for evaluation; what they had decayed comes before what arrives. */
static void touch(es_net *net, const es_target *target, uint32_t pixel, uint32_t run)
{
    uint32_t *touched = target->touched;
    uint32_t end = pixel + run;

    if (target->decays)
        for (uint32_t each = pixel; each < end; each++)
            es_decay_pixel(net, target->number, each);
    if (ES_WITH_SPEED && run != 0 && pixel / 32 == (end - 1) / 32)
        touched[pixel / 32] |= UINT32_MAX >> (32 - run) << pixel % 32;
    else
        for (; pixel < end; pixel++)
            touched[pixel / 32] |= (uint32_t)1 << pixel % 32;
    net->pending = true;
}

static void add(const es_target *target, uint32_t neuron, uint32_t value)
{
    uint32_t *words = (uint32_t *)(void *)target->accumulators;

    if (es_has_pairs(target->population))
        words[neuron / 2] += value << neuron % 2 * 16;
    else
        words[neuron] += value;
}

static uint32_t shifted(const es_projection *projection, int32_t value)
{
    return (uint32_t)value << projection->shift;
}

/* ---- routes ------------------------------------------------------------ */

enum { ONE_BY_ONE, BYTES_16, WORDS_16, HALVES_16, BYTES_32, HALVES_32 }; /* es_route.kernel */

static uint8_t kernel_of(const es_projection *projection, const es_population *target, uint32_t length)
{
    bool halves = ES_WITH_INT4 && projection->weight_bits == 4;

    if (!es_has_pairs(target))
        return halves ? HALVES_32 : BYTES_32;
    if (length % 2 != 0)
        return ONE_BY_ONE;
    if (projection->weight_bits == 16)
        return WORDS_16;
    return halves ? HALVES_16 : BYTES_16;
}

/* Whether all weight vectors of a source channel are one: those for target pixels side by side lie
 * side by side too, since kernels are stored from right to left. */
static bool is_seamless(const es_projection *projection, const es_population *target)
{
    return projection->kind == ES_CONVOLUTION && projection->stride[DOWN] == 1 && projection->stride[ACROSS] == 1 &&
           projection->dilation[DOWN] == 1 && projection->dilation[ACROSS] == 1 && projection->groups == 1 &&
           projection->weight_stride == target->channels &&
           (projection->weight_bits != 4 || es_has_pairs(target));
}

static void find_route(es_net *net, const es_projection *projection, es_route *route)
{
    const es_population *target = &net->model->populations[projection->target];

    find_target(net, projection, &route->target);
    route->projection = projection;
    route->weights = (const int8_t *)net->model->weights + projection->weight_offset;
    route->vector_bytes = projection->weight_stride * projection->weight_bits / 8;
    route->length = target->channels;
    if (projection->kind == ES_CONVOLUTION)
        route->length /= projection->groups;
    route->kernel = kernel_of(projection, target, route->length);
    route->is_seamless = ES_WITH_SPEED && is_seamless(projection, target);
}

#if ES_WITH_SPEED
const es_route *es_only_route(es_net *net, uint32_t source, es_route *route)
{
    const es_population *population = &net->model->populations[source];
    const es_projection *projection = &net->model->projections[population->first_projection];

    if (population->projection_count != 1 || projection->delay != 0)
        return NULL;
    find_route(net, projection, route);
    return route;
}
#endif

/* The events of a pixel as terms; the weight vector of channel c is number
 * c * vectors_per_channel, counted from a place that depends on the target. */
typedef struct es_terms {
    uint32_t count;
    bool wide; /* some value needs more than 16 bits */
    es_term terms[ES_GROUP];
} es_terms;

static void list_terms(es_terms *list, const es_route *route, const es_pixel_events *events,
                       uint32_t vectors_per_channel)
{
    uint32_t count = events->count, shift = route->projection->shift;
    uint32_t channel_bytes = vectors_per_channel * route->vector_bytes, wide = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t value = (uint32_t)events->values[i] << shift;
        list->terms[i].vector = events->channels[i] * channel_bytes;
        list->terms[i].value = value;
        wide |= (value + 0x8000u) >> 16;
    }
    list->count = count;
    list->wide = wide != 0;
}

/* Where targets of 2 bytes are not even in number. */
static void add_one_by_one(const es_target *target, uint32_t neuron, const int8_t *weights, const es_term *terms,
                           uint32_t count, uint32_t length)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < length; j++)
            add(target, neuron + j, (uint32_t)weights[terms[i].vector + j] * terms[i].value);
}

/* Adds terms to `length` targets that lie together. */
static void add_terms(const es_route *route, uint32_t neuron, const int8_t *weights, const es_terms *list,
                      uint32_t first, uint32_t count, uint32_t length)
{
    const es_term *terms = list->terms + first;
    uint32_t *words = (uint32_t *)(void *)route->target.accumulators;

    if (ES_WITH_PAIRS && route->kernel == BYTES_16)
        es_add_vectors_16(words + neuron / 2, weights, terms, count, length);
    else if (ES_WITH_PAIRS && route->kernel == WORDS_16)
        es_add_words_16(words + neuron / 2, weights, terms, count, length);
    else if (ES_WITH_PAIRS && ES_WITH_INT4 && route->kernel == HALVES_16)
        es_add_halves_16(words + neuron / 2, weights, terms, count, length);
    else if (ES_WITH_PAIRS && route->kernel == ONE_BY_ONE)
        add_one_by_one(&route->target, neuron, weights, terms, count, length);
    else if (ES_WITH_INT4 && route->kernel == HALVES_32)
        es_add_halves_32(words + neuron, weights, terms, count, length);
    else if (list->wide)
        es_add_wide_vectors_32(words + neuron, weights, terms, count, length);
    else
        es_add_vectors_32(words + neuron, weights, terms, count, length);
}

/* ---- kernel windows ---------------------------------------------------- */

/* Walks along one axis through the kernel positions by which a source reaches
 * targets: target * stride + position * dilation - padding = source. */
typedef struct es_taps {
    uint32_t position; /* in the kernel */
    uint32_t target;
    uint32_t remainder; /* target * stride + remainder = distance; reached where it is 0 */
    int32_t distance;   /* source + padding - position * dilation */
    uint16_t kernel;
    uint16_t stride;
    uint16_t dilation;
    uint16_t target_size;
    uint32_t target_step; /* dilation = target_step * stride + remainder_step */
    uint32_t remainder_step;
} es_taps;

static void step(es_taps *taps)
{
    taps->position++;
    taps->distance -= (int32_t)taps->dilation;
    taps->target -= taps->target_step;
    if (taps->remainder < taps->remainder_step) {
        taps->remainder += taps->stride;
        taps->target--;
    }
    taps->remainder -= taps->remainder_step;
}

/* From the present position on; whether there is a tap. */
static bool seek(es_taps *taps)
{
    while (taps->position < taps->kernel && taps->distance >= 0) {
        if (taps->remainder == 0 && taps->target < taps->target_size)
            return true;
        step(taps);
    }
    return false;
}

static bool next_tap(es_taps *taps)
{
    step(taps);
    return seek(taps);
}

static bool first_tap(es_taps *taps, const es_projection *projection, int axis, uint32_t source,
                      uint16_t target_size)
{
    uint32_t distance = source + projection->padding[axis];

    taps->position = 0;
    taps->kernel = projection->kernel[axis];
    taps->stride = projection->stride[axis];
    taps->dilation = projection->dilation[axis];
    taps->target_size = target_size;
    taps->distance = (int32_t)distance;
    taps->target = distance / taps->stride;
    taps->remainder = distance % taps->stride;
    taps->target_step = taps->dilation / taps->stride;
    taps->remainder_step = taps->dilation % taps->stride;
    return seek(taps);
}

/* ---- the kinds --------------------------------------------------------- */

/* Each returns the number of targets that its events reached. */

static ES_APART uint32_t project_dense(es_net *net, const es_route *route, const es_pixel_events *events)
{
    const es_population *source = &net->model->populations[route->projection->source];
    size_t first = (size_t)(events->y * source->width + events->x) * source->channels;
    es_terms list;

    touch(net, &route->target, 0, 1);
    list_terms(&list, route, events, 1);
    add_terms(route, 0, route->weights + first * route->vector_bytes, &list, 0, list.count, route->length);
    return events->count * route->length;
}

/* What the events of a pixel add to one target pixel. */
static void convolve(const es_route *route, uint32_t pixel, const int8_t *weights, const es_pixel_events *events,
                     const es_terms *list, uint32_t group_size)
{
    uint32_t neuron = pixel * route->target.population->channels;

    if (route->projection->groups == 1) {
        add_terms(route, neuron, weights, list, 0, list->count, route->length);
        return;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t group = events->channels[i] / group_size;
        add_terms(route, neuron + group * route->length, weights, list, i, 1, route->length);
    }
}

/* Targets that a source reaches along one axis with stride and dilation 1. */
typedef struct es_reach {
    uint32_t first;
    uint32_t end;
    uint32_t position; /* of the first one in the kernel */
} es_reach;

static es_reach reach_of(const es_projection *projection, int axis, uint32_t source, uint32_t target_size)
{
    uint32_t last = source + projection->padding[axis], kernel = projection->kernel[axis];
    es_reach reach;

    reach.first = last >= kernel ? last - kernel + 1 : 0;
    reach.position = last - reach.first;
    reach.end = last < target_size ? last + 1 : target_size;
    return reach;
}

/* A row of targets at a time. Returns the number of target pixels. */
static uint32_t convolve_rows(es_net *net, const es_route *route, const es_pixel_events *events,
                              const es_terms *list)
{
    const es_projection *projection = route->projection;
    uint32_t width = route->target.population->width, channels = route->length;
    uint32_t columns = projection->kernel[ACROSS], row_bytes = columns * route->vector_bytes;
    es_reach down = reach_of(projection, DOWN, events->y, route->target.population->height);
    es_reach across = reach_of(projection, ACROSS, events->x, width);
    uint32_t pixel = down.first * width + across.first, run = across.end - across.first;
    const int8_t *weights =
        route->weights + (size_t)(down.position * columns + columns - 1 - across.position) * route->vector_bytes;

    if (down.first >= down.end || across.first >= across.end)
        return 0;
    for (uint32_t row = down.first; row < down.end; row++) {
        touch(net, &route->target, pixel, run);
        add_terms(route, pixel * channels, weights, list, 0, list->count, run * channels);
        pixel += width;
        weights -= row_bytes;
    }
    return (down.end - down.first) * run;
}

/* A target pixel at a time. Returns their number. */
static uint32_t convolve_pixels(es_net *net, const es_route *route, const es_pixel_events *events,
                                const es_terms *list)
{
    const es_projection *projection = route->projection;
    uint16_t height = route->target.population->height, width = route->target.population->width;
    uint32_t group_size = net->model->populations[projection->source].channels / projection->groups;
    uint32_t columns = projection->kernel[ACROSS], pixels = 0;
    es_taps down, across;

    for (bool row = first_tap(&down, projection, DOWN, events->y, height); row; row = next_tap(&down)) {
        for (bool column = first_tap(&across, projection, ACROSS, events->x, width); column;
             column = next_tap(&across)) {
            uint32_t pixel = down.target * width + across.target;
            uint32_t vector = (down.position + 1) * columns - 1 - across.position;
            touch(net, &route->target, pixel, 1);
            convolve(route, pixel, route->weights + (size_t)vector * route->vector_bytes, events, list, group_size);
            pixels++;
        }
    }
    return pixels;
}

static ES_APART uint32_t project_convolution(es_net *net, const es_route *route, const es_pixel_events *events)
{
    const es_projection *projection = route->projection;
    uint32_t pixels;
    es_terms list;

    list_terms(&list, route, events, (uint32_t)projection->kernel[DOWN] * projection->kernel[ACROSS]);
    if (ES_WITH_SPEED && route->is_seamless)
        pixels = convolve_rows(net, route, events, &list);
    else
        pixels = convolve_pixels(net, route, events, &list);
    return pixels * events->count * route->length;
}

/* Whether no two windows of a pool share a source: then each reaches one target at most. */
static bool is_partition(const es_projection *projection)
{
    return projection->kernel[DOWN] <= projection->stride[DOWN] && projection->dilation[DOWN] == 1 &&
           projection->kernel[ACROSS] <= projection->stride[ACROSS] && projection->dilation[ACROSS] == 1;
}

/* That target along one axis; none is told as target_size. */
static uint32_t only_target(const es_projection *projection, int axis, uint32_t source, uint32_t target_size)
{
    uint32_t distance = source + projection->padding[axis], stride = projection->stride[axis];
    uint32_t target = distance / stride;

    return target < target_size && distance - target * stride < projection->kernel[axis] ? target : target_size;
}

/* Adds the events of a pixel to the same channels of another. */
static void add_values(const es_target *target, uint32_t pixel, const es_projection *projection,
                       const es_pixel_events *events)
{
    uint32_t first = pixel * target->population->channels, count = events->count;
    uint32_t *words = (uint32_t *)(void *)target->accumulators;

    if (es_has_pairs(target->population)) { /* channels are even */
        words += first / 2;
        for (uint32_t i = 0; i < count; i++)
            words[events->channels[i] / 2] += shifted(projection, events->values[i]) << events->channels[i] % 2 * 16;
    } else {
        words += first;
        for (uint32_t i = 0; i < count; i++)
            words[events->channels[i]] += shifted(projection, events->values[i]);
    }
}

/* A max pool reads the levels of its window when it is evaluated. */
static void project_to_pixel(es_net *net, const es_target *target, uint32_t pixel, const es_projection *projection,
                             const es_pixel_events *events)
{
    touch(net, target, pixel, 1);
    if (projection->kind == ES_SUM_POOL)
        add_values(target, pixel, projection, events);
}

static ES_APART uint32_t project_pool(es_net *net, const es_route *route, const es_pixel_events *events)
{
    const es_projection *projection = route->projection;
    uint16_t height = route->target.population->height, width = route->target.population->width;
    uint32_t pixels = 0;
    es_taps down, across;

    if (ES_WITH_SPEED && is_partition(projection)) {
        uint32_t y = only_target(projection, DOWN, events->y, height);
        uint32_t x = only_target(projection, ACROSS, events->x, width);
        if (y == height || x == width)
            return 0;
        project_to_pixel(net, &route->target, y * width + x, projection, events);
        return events->count;
    }
    for (bool row = first_tap(&down, projection, DOWN, events->y, height); row; row = next_tap(&down)) {
        for (bool column = first_tap(&across, projection, ACROSS, events->x, width); column;
             column = next_tap(&across)) {
            project_to_pixel(net, &route->target, down.target * width + across.target, projection, events);
            pixels++;
        }
    }
    return pixels * events->count;
}

static ES_APART uint32_t project_one_to_one(es_net *net, const es_route *route, const es_pixel_events *events)
{
    const es_target *target = &route->target;
    const int16_t *weights = (const int16_t *)(const void *)route->weights;
    uint32_t pixel = events->y * target->population->width + events->x;

    touch(net, target, pixel, 1);
    for (uint32_t i = 0; i < events->count; i++) {
        uint32_t channel = events->channels[i];
        add(target, pixel * target->population->channels + channel,
            (uint32_t)weights[channel] * shifted(route->projection, events->values[i]));
    }
    return events->count;
}

uint32_t es_project_along(es_net *net, const es_route *route, const es_pixel_events *events)
{
    switch (route->projection->kind) {
    case ES_DENSE:
        return project_dense(net, route, events);
    case ES_CONVOLUTION:
        return project_convolution(net, route, events);
    case ES_ONE_TO_ONE:
        return project_one_to_one(net, route, events);
    default: /* ES_SUM_POOL, ES_MAX_POOL_WINDOW */
        return project_pool(net, route, events);
    }
}

void es_count(es_net *net, uint32_t source, uint64_t events, uint64_t reached)
{
    es_population_stats *stats = es_stats_of(net, source);

    stats->events += events;
    stats->synops += reached;
    net->stats.events += events;
    net->stats.synops += reached;
}

void es_project(es_net *net, uint32_t source, const es_pixel_events *events)
{
    const es_population *population = &net->model->populations[source];
    uint64_t reached = 0;

    for (uint32_t i = 0; i < population->projection_count; i++) {
        es_route route;
        find_route(net, &net->model->projections[population->first_projection + i], &route);
        reached += es_project_along(net, &route, events);
    }
    es_count(net, source, events->count, reached);
}

/* ---- what arrives late ------------------------------------------------- */

static void deliver_pixel(es_net *net, const es_target *target, const es_inbox_slot *slot, uint32_t pixel)
{
    uint32_t bytes = target->population->channels * target->population->accumulator_bytes;
    uint32_t *arrived = (uint32_t *)(void *)(slot->values + (size_t)pixel * bytes);
    uint32_t *words = (uint32_t *)(void *)(target->accumulators + (size_t)pixel * bytes);

    touch(net, target, pixel, 1);
    for (uint32_t i = 0; i < bytes / sizeof *words; i++)
        words[i] += arrived[i];
    memset(arrived, 0, bytes);
}

void es_deliver(es_net *net, uint32_t number)
{
    es_inbox_slot slot = es_inbox_slot_of(net, number, 0);
    uint32_t pixels = es_pixel_count(&net->model->populations[number]);
    es_target target;

    find_present_target(net, number, &target);
    for (uint32_t first = 0; first < pixels; first += 32) {
        uint32_t bits = slot.touched[first / 32];
        slot.touched[first / 32] = 0;
        for (uint32_t pixel = first; bits != 0; pixel++, bits >>= 1)
            if (bits & 1)
                deliver_pixel(net, &target, &slot, pixel);
    }
}
