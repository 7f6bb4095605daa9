/* What the core's files share: the model's records as they lie in the file, the
 * arena, and the steps of a tick. Not for users of the library.
 */
#ifndef ES_INTERNAL_H
#define ES_INTERNAL_H

#include <string.h>

#include "edgespike.h"

/* Before what only the core's files call: all of them in one file may make it static. */
#ifndef ES_PRIVATE
#define ES_PRIVATE
#endif

/* Whether divisions are calls: worth a look whether one is needed. */
#if defined(__arm__) && !defined(__ARM_FEATURE_IDIV)
#define ES_SLOW_DIVISION 1
#else
#define ES_SLOW_DIVISION 0
#endif

/* A function that is inlined keeps its stack through all that its caller does afterwards. */
#ifdef __GNUC__
#define ES_APART __attribute__((noinline))
#else
#define ES_APART
#endif

#ifdef __cplusplus
#define restrict __restrict
#endif

/* Code for speed has second, faster ways for what networks do most; the bits are the same. */
#ifndef ES_WITH_SPEED
#ifdef __OPTIMIZE_SIZE__
#define ES_WITH_SPEED 0
#else
#define ES_WITH_SPEED 1
#endif
#endif

/* ---- records of the file (docs/format.md), read in place --------------- */

/* Every record lies at a multiple of 16 and has no padding, so a pointer into
 * the file is a pointer to the record. */

typedef struct es_header {
    uint8_t magic[8];
    uint16_t major;
    uint16_t minor;
    uint32_t file_size;
    uint32_t crc;
    uint16_t section_count;
    uint16_t population_count;
    uint16_t projection_count;
    uint16_t reserved;
    uint32_t streaming_bytes;
    uint32_t one_shot_bytes; /* 0: there is no one-shot plan */
    uint8_t reserved_2[12];
    uint8_t source_hash[32];
} es_header;

typedef struct es_section {
    char name[4];
    uint32_t offset;
    uint32_t size;
    uint32_t crc;
} es_section;

enum { ES_LEVEL_INPUT, ES_SPIKE_INPUT, ES_ACTIVATION, ES_MAX_POOL, ES_ACCUMULATOR, ES_INTEGRATE_AND_FIRE };
enum { ES_FIRES_ABOVE, ES_FIRES_FROM };                             /* compare */
enum { ES_RESET_NONE, ES_RESET_TO_VALUE, ES_RESET_SUBTRACT };       /* reset */
enum { ES_DECAY_NONE, ES_DECAY_NEAREST, ES_DECAY_FLOOR, ES_DECAY_TOWARD_ZERO }; /* rounding */

enum { ES_READ_SPIKES, ES_READ_MEMBRANE, ES_READ_GREATEST, ES_READ_FIRST }; /* readout */

/* flag of activation populations */
#define ES_FLAG_TABLE_BY_CHANNEL 1

/* flags of integrate-and-fire populations */
#define ES_FLAG_DRIVEN 1        /* some drive is not zero: every neuron works every tick */
#define ES_FLAG_CURRENT 2       /* input goes through a synaptic current */
#define ES_FLAG_ADAPTATION 4    /* spikes raise the threshold */
#define ES_FLAG_RESET_DELAYED 8 /* a spike resets in the next tick */

typedef struct es_population {
    uint8_t kind;
    uint8_t accumulator_bytes;
    uint8_t level_bytes;
    uint8_t flags;
    uint16_t height;
    uint16_t width;
    uint16_t channels;
    uint16_t refractory; /* ticks */
    int32_t level_min;
    int32_t level_max;
    uint32_t parameter_offset;
    uint32_t parameter_count;
    uint32_t initial_offset;
    uint8_t compare;
    uint8_t reset;
    uint8_t rounding;
    uint8_t readout;
    int32_t membrane_min;
    int32_t membrane_max;
    uint32_t budget;
    uint16_t first_projection;
    uint16_t projection_count;
    uint8_t current_rounding;
    uint8_t adaptation_rounding;
    uint16_t table_count; /* indices; 0: no table */
    uint32_t table_offset;
    int16_t index_min;
    uint8_t level_shift;
    uint8_t reserved;
} es_population;

enum { ES_DENSE, ES_CONVOLUTION, ES_SUM_POOL, ES_ONE_TO_ONE, ES_MAX_POOL_WINDOW };

/* Pairs are (down, across). */
typedef struct es_projection {
    uint8_t kind;
    uint8_t weight_bits;
    uint8_t delay;
    uint8_t shift;
    uint16_t source;
    uint16_t target;
    uint16_t kernel[2];
    uint16_t stride[2];
    uint16_t dilation[2];
    uint16_t padding[2];
    uint16_t groups;
    uint16_t reserved;
    uint32_t weight_offset;
    uint32_t weight_stride;
    uint8_t reserved_2[12];
} es_projection;

typedef struct es_input {
    uint8_t counts_events;
    uint8_t polarities;
    uint16_t slices;
    uint16_t sensor_height;
    uint16_t sensor_width;
    uint32_t tick_us;
    uint32_t window_ticks;
    uint32_t slice_ticks;
    uint16_t saturation;
    uint16_t exit_first; /* early exit: looks count from 1 */
    uint32_t exit_every; /* ticks; 0: there is none */
    uint32_t exit_margin;
} es_input;

#define ES_TEST_MOST 4096u /* events of a self-test, and ticks in which it ends */

typedef struct es_test {
    uint32_t event_count;
    uint32_t score_count;
    uint32_t digest;
    uint32_t reserved;
} es_test;

/* Fails to compile where a record is not as in the file. */
typedef char es_assert_header[sizeof(es_header) == 80 ? 1 : -1];
typedef char es_assert_section[sizeof(es_section) == 16 ? 1 : -1];
typedef char es_assert_population[sizeof(es_population) == 64 ? 1 : -1];
typedef char es_assert_projection[sizeof(es_projection) == 48 ? 1 : -1];
typedef char es_assert_input[sizeof(es_input) == 32 ? 1 : -1];
typedef char es_assert_test[sizeof(es_test) == 16 && sizeof(es_event) == 12 ? 1 : -1];

static inline uint32_t es_pixel_count(const es_population *population)
{
    return (uint32_t)population->height * population->width;
}

static inline uint32_t es_neuron_count(const es_population *population)
{
    return es_pixel_count(population) * population->channels;
}

static inline bool es_has_accumulators(const es_population *population)
{
    return population->accumulator_bytes != 0;
}

/* Whether accumulators have 2 bytes and lie two in a word. */
static inline bool es_has_pairs(const es_population *population)
{
    return ES_WITH_PAIRS && population->accumulator_bytes == 2;
}

static inline bool es_has_levels(const es_population *population)
{
    return population->level_bytes != 0;
}

static inline bool es_has_table(const es_population *population)
{
    return ES_WITH_TABLES && population->table_count != 0;
}

static inline bool es_is_input(const es_population *population)
{
    return population->kind == ES_LEVEL_INPUT || population->kind == ES_SPIKE_INPUT;
}

static inline bool es_is_spiking(const es_population *population)
{
    return ES_WITH_SPIKING && population->kind == ES_INTEGRATE_AND_FIRE;
}

static inline bool es_decays(const es_population *population)
{
    return es_is_spiking(population) && population->rounding != ES_DECAY_NONE;
}

static inline bool es_is_driven(const es_population *population)
{
    return es_is_spiking(population) && (population->flags & ES_FLAG_DRIVEN) != 0;
}

static inline bool es_has_currents(const es_population *population)
{
    return ES_WITH_SPIKING && ES_WITH_CURRENTS && (population->flags & ES_FLAG_CURRENT) != 0;
}

static inline bool es_has_adaptation(const es_population *population)
{
    return (population->flags & ES_FLAG_ADAPTATION) != 0;
}

/* Whether even a neuron that nothing reaches has work to do. */
static inline bool es_works_every_tick(const es_population *population)
{
    return es_is_driven(population) || population->readout == ES_READ_GREATEST;
}

/* Whether pixels remember when they last decayed. */
static inline bool es_has_stamps(const es_population *population)
{
    return es_decays(population) && !es_works_every_tick(population);
}

/* Whether its scores are not its present state: spike counts, greatest membranes. */
static inline bool es_keeps_scores(const es_model *model, uint32_t number)
{
    return number + 1u == model->population_count && es_is_spiking(&model->populations[number]) &&
           model->populations[number].readout != ES_READ_MEMBRANE;
}

/* Behind the input's record: [channels][saturation + 1] levels, when it counts events. */
static inline const int16_t *es_input_table(const es_model *model)
{
    return (const int16_t *)(const void *)(model->input + 1);
}

static inline const es_event *es_test_events(const es_test *test)
{
    return (const es_event *)(const void *)(test + 1);
}

static inline const int32_t *es_parameters(const es_model *model, const es_population *population)
{
    return (const int32_t *)(const void *)(model->parameters + population->parameter_offset);
}

/* Element `index` of levels of 1 or 2 bytes. */
static inline uint32_t es_stored_level(const uint8_t *levels, uint32_t bytes, uint32_t index)
{
    return bytes == 1 ? levels[index] : ((const uint16_t *)(const void *)levels)[index];
}

/* Accumulators of 2 bytes lie two in a word, low + 65536 * high modulo 2^32: where the low one is
 * negative, the upper half holds one less than the high one. */
static inline int32_t es_accumulator(const es_population *population, const uint8_t *accumulators, uint32_t index)
{
    const uint32_t *words = (const uint32_t *)(const void *)accumulators;

    if (!es_has_pairs(population))
        return (int32_t)words[index];
    return index % 2 == 0 ? (int16_t)words[index / 2] : (int16_t)((words[index / 2] + 0x8000u) >> 16);
}

/* Whether windows may be decided before they end. */
static inline bool es_exits_early(const es_model *model)
{
    return ES_WITH_EARLY_EXIT && model->input->exit_every != 0;
}

/* Whether the open window is decided: the rest of it is skipped. */
static inline bool es_is_decided(const es_net *net)
{
    return ES_WITH_EARLY_EXIT && net->decided != 0;
}

static inline bool es_is_one_shot(const es_net *net)
{
    return ES_WITH_ONE_SHOT && net->plan == ES_PLAN_ONE_SHOT;
}

static inline uint32_t es_round_up(uint32_t size)
{
    return (size + (ES_ALIGNMENT - 1u)) & ~(ES_ALIGNMENT - 1u);
}

/* ---- initial state (es_initial.c) -------------------------------------- */

/* One table of INIT: its two maps, and where its values are, in bytes from its
 * start. A pixel's values begin at element es_initial_index. */
typedef struct es_initial {
    const uint8_t *table;
    const uint16_t *rows;
    const uint16_t *columns;
    uint32_t row_count;
    uint32_t column_count;
    uint32_t accumulators;
    uint32_t levels;
    uint32_t size;
} es_initial;

/* The table of a population. Its first two numbers must be in range. */
ES_PRIVATE es_initial es_initial_of(const es_model *model, const es_population *population);

static inline uint32_t es_initial_index(const es_initial *initial, uint32_t y, uint32_t x, uint32_t channels)
{
    return (initial->rows[y] * initial->column_count + initial->columns[x]) * channels;
}

/* Spreads the table's accumulators or levels over a buffer of all neurons. */
ES_PRIVATE void es_initial_spread_accumulators(const es_model *model, const es_population *population,
                                               uint8_t *buffer);
ES_PRIVATE void es_initial_spread_levels(const es_model *model, const es_population *population,
                                         uint8_t *buffer);

/* ---- arena (es_arena.c) ------------------------------------------------ */

/* The arena begins with a table of offsets, eight for each population; 0 where
 * there is no such buffer. */
typedef enum es_buffer {
    ES_ACCUMULATORS, /* or membranes */
    ES_LEVELS,       /* level - level_min; for an event-counting input, counts */
    ES_TOUCHED,      /* one bit a pixel: to be evaluated */
    ES_STAMPS,       /* by pixel: how many ticks of the window it has decayed */
    ES_CURRENTS,     /* what is left of the synaptic current, plus the input of the open tick */
    ES_ADAPTATION,   /* what spikes have added to the threshold */
    ES_REFRACTORY,   /* ticks in which the neuron still rests */
    ES_INBOX,        /* what delayed projections have sent and has not arrived */
    ES_BUFFER_KINDS,
    ES_SCORES = ES_LEVELS /* of an integrate-and-fire output: spike counts, greatest membranes */
} es_buffer;

static inline uint8_t *es_buffer_of(const es_net *net, uint32_t number, es_buffer kind)
{
    const uint32_t *table = (const uint32_t *)(const void *)net->arena;
    uint32_t offset = table[ES_BUFFER_KINDS * number + kind];
    return offset ? net->arena + offset : NULL;
}

typedef struct es_population_stats {
    uint64_t events;
    uint64_t synops;
} es_population_stats;

static inline es_population_stats *es_stats_of(const es_net *net, uint32_t number)
{
    uint32_t tables = net->model->population_count * (ES_BUFFER_KINDS * (uint32_t)sizeof(uint32_t));
    return (es_population_stats *)(void *)(net->arena + tables) + number;
}

/* End of the buffers that keep their place: all of the streaming plan, and all
 * but accumulators and levels of the one-shot plan. Writes their offsets where
 * `table` is given. */
ES_PRIVATE uint64_t es_arena_fixed(const es_model *model, es_plan plan, uint32_t *table);

/* Lays out the whole one-shot plan into `table` and returns its end. */
ES_PRIVATE uint64_t es_arena_one_shot(const es_model *model, uint32_t *table);

/* ---- what is under way (es_inbox.c) ------------------------------------- */

/* An inbox: u32 slots, a power of two above every delay; touched bits [slots]
 * [words]; values [slots][neurons] like the population's accumulators. What
 * arrives in a tick is in slot tick mod slots. */
typedef struct es_inbox_slot {
    uint32_t *touched;
    uint8_t *values;
} es_inbox_slot;

/* Slots that the inbox of a population needs; 0: nothing reaches it late. */
ES_PRIVATE uint32_t es_inbox_slots(const es_model *model, uint32_t number);

/* Bytes of an inbox with so many slots. */
ES_PRIVATE uint64_t es_inbox_bytes(const es_population *population, uint32_t slots);

/* Empties the inbox of a population, if it has one. */
ES_PRIVATE void es_inbox_clear(const es_net *net, uint32_t number);

/* Where what arrives `delay` ticks after the open one is kept. */
ES_PRIVATE es_inbox_slot es_inbox_slot_of(const es_net *net, uint32_t number, uint32_t delay);

/* The first projection that ends in a population other than the input. */
static inline const es_projection *es_first_incoming(const es_model *model, uint32_t number)
{
    const es_projection *projection = model->projections;

    while (projection->target != number)
        projection++;
    return projection;
}

/* ---- kernels (es_kernel.c) --------------------------------------------- */

/* What one event adds: a weight vector, which begins at weights + vector, times a value. */
typedef struct es_term {
    uint32_t vector;
    uint32_t value;
} es_term;

/* accumulators[0 .. length - 1] += the sum of the terms, modulo 2^32 or, of two accumulators in a
 * word, modulo 2^32 together; their length is even. Values of the first are 16-bit numbers with a sign.
 * es_add_words_16: of weights that take 16 bits, two in an aligned word. */
ES_PRIVATE void es_add_vectors_32(uint32_t *accumulators, const int8_t *weights, const es_term *terms,
                                  uint32_t term_count, uint32_t length);
ES_PRIVATE void es_add_vectors_16(uint32_t *accumulators, const int8_t *weights, const es_term *terms,
                                  uint32_t term_count, uint32_t length);
ES_PRIVATE void es_add_words_16(uint32_t *accumulators, const int8_t *weights, const es_term *terms,
                                uint32_t term_count, uint32_t length);
ES_PRIVATE void es_add_wide_vectors_32(uint32_t *restrict accumulators, const int8_t *restrict weights,
                                       const es_term *restrict terms, uint32_t term_count, uint32_t length);

/* The same with weights of 4 bits and any values. Byte i of a vector holds weight i below and weight
 * i + half above, where half is (length + 1) / 2; for accumulators of 2 bytes weights 2 i and 2 i + 1. */
ES_PRIVATE void es_add_halves_32(uint32_t *restrict accumulators, const int8_t *restrict weights,
                                 const es_term *restrict terms, uint32_t term_count, uint32_t length);
ES_PRIVATE void es_add_halves_16(uint32_t *restrict accumulators, const int8_t *restrict weights,
                                 const es_term *restrict terms, uint32_t term_count, uint32_t length);

/* As memcpy, which is slow in small C libraries. */
#if ES_WITH_SPEED
ES_PRIVATE void es_copy(uint8_t *restrict to, const uint8_t *restrict from, uint32_t bytes);
#else
#define es_copy memcpy
#endif

/* maxima[i] = max(maxima[i], values[i]). */
ES_PRIVATE void es_maximum_8(uint16_t *restrict maxima, const uint8_t *restrict values, uint32_t count);
ES_PRIVATE void es_maximum_16(uint16_t *restrict maxima, const uint16_t *restrict values, uint32_t count);

/* ---- projections (es_project.c) ---------------------------------------- */

/* The channels of a pixel are evaluated in groups of at most this many. Small groups
 * take less stack, large ones less time. */
#ifndef ES_GROUP
#define ES_GROUP 32
#endif
#if ES_GROUP % 4 != 0
#error "ES_GROUP: a multiple of 4, since levels are told four at a time"
#endif

/* What neurons of one pixel send at once. */
typedef struct es_pixel_events {
    uint32_t y;
    uint32_t x;
    uint32_t count;
    uint16_t channels[ES_GROUP];
    int32_t values[ES_GROUP]; /* never 0 */
} es_pixel_events;

/* Where the input of a population adds up. */
typedef struct es_target {
    const es_population *population;
    uint32_t number;
    uint8_t *accumulators; /* also currents, or the slot of a later tick */
    uint32_t *touched;
    bool decays;
} es_target;

/* A projection, with what all its events have in common. */
typedef struct es_route {
    const es_projection *projection;
    es_target target;
    const int8_t *weights;
    uint32_t vector_bytes; /* from one weight vector to the next */
    uint32_t length;       /* of a weight vector */
    uint8_t kernel;        /* which of es_kernel.c: see es_project.c */
    bool is_seamless;      /* rows of targets at a time */
} es_route;

#if ES_WITH_SPEED
/* The one projection that leaves a population, if it has no delay: NULL where there are others. */
ES_PRIVATE const es_route *es_only_route(es_net *net, uint32_t source, es_route *route);
#endif

/* Carries events along a projection and marks the target pixels. Returns how many targets they reach. */
ES_PRIVATE uint32_t es_project_along(es_net *net, const es_route *route, const es_pixel_events *events);

/* Carries events along all projections that leave a population, and counts. */
ES_PRIVATE void es_project(es_net *net, uint32_t source, const es_pixel_events *events);

/* Counts what a population has sent, and how many targets that reached. */
ES_PRIVATE void es_count(es_net *net, uint32_t source, uint64_t events, uint64_t reached);

/* Adds what arrives late in the open tick to a population, as if it was sent now. */
ES_PRIVATE void es_deliver(es_net *net, uint32_t number);

/* ---- levels (es_level.c) ----------------------------------------------- */

/* The level that an accumulator of an activation means, less level_min. */
ES_PRIVATE uint32_t es_level(const es_model *model, const es_population *population, uint32_t channel,
                             int32_t accumulator, int32_t step);

#if ES_WITH_SPEED
/* Levels of a byte that are quotients from 0 on, without a table. */
typedef struct es_quotients {
    const uint32_t *accumulators;
    const int32_t *steps;
    uint8_t *kept; /* NULL where told levels are not kept */
    uint32_t shift;
    int32_t greatest;
    bool paired;
    bool by_channel; /* steps, else by neuron */
} es_quotients;

/* Lists the events of channels first, first + 1, ... of a pixel whose levels are not what was told,
 * and keeps these levels. `neuron` is the first one's; `neuron`, `first` and `count` divide by 4,
 * and `count` is at most ES_GROUP. */
ES_PRIVATE void es_tell_quotients(const es_quotients *group, uint32_t neuron, uint32_t first, uint32_t count,
                                  const uint8_t *told_bytes, es_pixel_events *events);
#endif

/* ---- neurons (es_neuron.c) --------------------------------------------- */

/* Evaluates the touched (or driven) pixels of a population, sends what changed,
 * and clears their marks. Returns whether some neuron will work in the next
 * tick by itself. */
ES_PRIVATE bool es_evaluate(es_net *net, uint32_t number);

/* The sources first, first + step, ... below end of a max pool's window, along one axis. */
typedef struct es_window {
    uint32_t first;
    uint32_t end;
    uint32_t step;
} es_window;

ES_PRIVATE es_window es_window_of(const es_projection *projection, int axis, uint32_t target,
                                  uint32_t source_size);

/* Whether a membrane fires. */
ES_PRIVATE bool es_fires(const es_population *population, int32_t membrane, int32_t threshold);

/* Brings the membranes of a pixel to the open tick, before the first input of
 * that tick is added. Call before the pixel is marked. Not where input goes
 * through a current: those membranes wait for their evaluation. */
ES_PRIVATE void es_decay_pixel(es_net *net, uint32_t number, uint32_t pixel);

/* Renews all stamps of a population, if it has any, at the beginning of a tick. */
ES_PRIVATE void es_decay_population(es_net *net, uint32_t number);

/* A membrane after `ticks` ticks without input. */
ES_PRIVATE int32_t es_decayed(int32_t membrane, int32_t decay, uint8_t rounding, uint32_t ticks);

/* Level, membrane or accumulator after the last closed tick; 0 for spike inputs. */
ES_PRIVATE int32_t es_neuron_state(const es_net *net, uint32_t number, uint32_t neuron);

/* What the last population tells of a neuron: its state, or spikes in the window. */
ES_PRIVATE int32_t es_neuron_score(const es_net *net, uint32_t number, uint32_t neuron);

/* ---- early exit (es_exit.c) -------------------------------------------- */

/* Ticks until the scores are to be looked at. */
ES_PRIVATE uint32_t es_ticks_to_look(const es_net *net);

/* Looks at the scores of the closed ticks, if it is time: whether they decide the window. */
ES_PRIVATE void es_look(es_net *net);

/* ---- input (es_input.c) ------------------------------------------------ */

/* Whether an event names a neuron (or sensor pixel) of the input. */
ES_PRIVATE bool es_input_contains(const es_model *model, const es_event *event);

/* ES_OK, or why the event's value cannot be taken. The event lies in the open
 * window and inside the input. */
ES_PRIVATE int es_input_check(const es_net *net, const es_event *event);

/* Takes a checked event of the open tick; `route` is the input's only one, or NULL. */
ES_PRIVATE void es_input_take(es_net *net, const es_event *event, const es_route *route);

/* The level of an input neuron, from what its buffer holds. */
ES_PRIVATE int32_t es_input_level(const es_model *model, uint32_t channel, uint32_t stored);

/* ---- in bulk, on PCs (pc/) ---------------------------------------------- */

#ifdef ES_PC
/* Takes events of the open tick together, if they are many. Returns how many it took. */
size_t es_pc_take(es_net *net, const es_event *events, size_t count);

/* Evaluates a population as a whole, if much of it was touched. Returns whether it did; none
 * of its neurons works again by itself. */
bool es_pc_evaluate(es_net *net, uint32_t number);

/* Restores all buffers to the initial state, if it can. */
bool es_pc_open(es_net *net);
#else
#define es_pc_take(net, events, count) ((size_t)0)
#define es_pc_evaluate(net, number) false
#define es_pc_open(net) false
#endif

#endif
