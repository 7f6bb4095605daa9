/* edgespike: event-driven integer inference.
 *
 * The whole public C interface of the network. The caller owns every byte:
 * the model (read-only, may stay in flash), the es_net, and one arena.
 * Nothing here allocates, uses floating point or keeps writable globals, so
 * contexts are independent of each other.
 *
 *     es_model model;
 *     es_net net;
 *     uint32_t size;
 *     es_model_open(&model, data, data_size);            checks everything, once
 *     es_arena_size(&model, ES_PLAN_STREAMING, &size);
 *     es_net_init(&net, &model, ES_PLAN_STREAMING, arena, arena_size);
 *     es_net_push(&net, events, count, &used);           integrates
 *     es_net_finish(&net);                               closes the sample
 *     es_net_output(&net, scores, es_output_size(&model));
 *     es_net_reset(&net);                                before the next sample
 *
 * Every function returns 0 (or a positive value that its comment names), or a
 * negative code of es_errors.h.
 */
#ifndef EDGESPIKE_H
#define EDGESPIKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "es_errors.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ES_VERSION_MAJOR 0
#define ES_VERSION_MINOR 1
#define ES_VERSION_PATCH 0

#define ES_FORMAT_MAJOR 2
#define ES_FORMAT_MINOR 0

/* What a build for one model may leave out: set to 0 (docs/c-api.md). A model that
 * needs what was left out is refused. */
#ifndef ES_WITH_CHECKS
#define ES_WITH_CHECKS 1 /* of everything in a file; 0: checksums only, for files that were checked before */
#endif
#ifndef ES_WITH_SPIKING
#define ES_WITH_SPIKING 1 /* integrate-and-fire populations */
#endif
#ifndef ES_WITH_CURRENTS
#define ES_WITH_CURRENTS 1 /* integrate-and-fire populations with synaptic currents */
#endif
#ifndef ES_WITH_DELAYS
#define ES_WITH_DELAYS 1 /* projections with a delay */
#endif
#ifndef ES_WITH_TABLES
#define ES_WITH_TABLES 1 /* activation populations with a table of levels */
#endif
#ifndef ES_WITH_INT4
#define ES_WITH_INT4 1 /* weights of 4 bits */
#endif
#ifndef ES_WITH_PAIRS
#define ES_WITH_PAIRS 1 /* accumulators of 2 bytes, two in a word */
#endif
#ifndef ES_WITH_EARLY_EXIT
#define ES_WITH_EARLY_EXIT 1 /* windows that are decided before they end */
#endif
#ifndef ES_WITH_ONE_SHOT
#define ES_WITH_ONE_SHOT 1 /* ES_PLAN_ONE_SHOT */
#endif

/* Alignment that the model's first byte and the arena's first byte must have. */
#define ES_ALIGNMENT 16

/* Gives an array this alignment: static ES_ALIGNED uint8_t arena[1024]; */
#if defined(__GNUC__)
#define ES_ALIGNED __attribute__((aligned(ES_ALIGNMENT)))
#elif defined(__cplusplus)
#define ES_ALIGNED alignas(ES_ALIGNMENT)
#else
#define ES_ALIGNED _Alignas(ES_ALIGNMENT)
#endif

#define ES_ERROR_ENUM(name, code, family, slug, message) name = (code),
typedef enum es_status { ES_OK = 0, ES_WINDOW = 1, ES_ERROR_LIST(ES_ERROR_ENUM) } es_status;
#undef ES_ERROR_ENUM

/* The English message of a code, or "unknown error". Never NULL. */
const char *es_error_message(int code);

/* ---- model ------------------------------------------------------------ */

/* A checked model: where its parts are. Filled by es_model_open, then only read. */
typedef struct es_model {
    const uint8_t *data;
    uint32_t size;
    const struct es_population *populations; /* population_count records, read in place */
    const struct es_projection *projections;
    const struct es_input *input;
    const uint8_t *parameters;
    const uint8_t *weights;
    const uint8_t *initial;
    const uint8_t *metadata; /* UTF-8 JSON for hosts */
    const uint8_t *test;
    uint32_t metadata_size;
    uint32_t test_size;
    uint16_t population_count;
    uint16_t projection_count;
} es_model;

/* Checks every byte that running relies on, in the order of docs/format.md, so
 * that running needs no checks. `data` must stay where it is, aligned to
 * ES_ALIGNMENT, for as long as the model is used. */
int es_model_open(es_model *model, const void *data, size_t size);

/* The number of scores: neurons of the last population. */
uint32_t es_output_size(const es_model *model);

/* The number of neurons of a population; 0 if there is no such population. */
uint32_t es_population_size(const es_model *model, uint32_t population);

/* Height, width and channels of what input events may name: those of the input
 * population, or of the sensor (channels: two polarities) if it counts events. */
void es_input_shape(const es_model *model, uint32_t shape[3]);

/* Microseconds in a tick, and ticks in a window (0: samples end from outside). */
uint32_t es_tick_us(const es_model *model);
uint32_t es_window_ticks(const es_model *model);

/* SHA-256 of the network that the model was converted from. */
const uint8_t *es_model_source_hash(const es_model *model);

/* ---- network ---------------------------------------------------------- */

/* STREAMING keeps the state of every population between ticks.
 * ONE_SHOT takes one sample between resets and keeps accumulators only while
 * they are needed; spiking populations need STREAMING. Equal bits. */
typedef enum es_plan { ES_PLAN_STREAMING = 0, ES_PLAN_ONE_SHOT = 1 } es_plan;

/* Bytes of arena that a network needs. The plan holds no pointers: host and
 * board agree to the byte, and with the numbers in the model's header. */
int es_arena_size(const es_model *model, es_plan plan, uint32_t *size);

/* One input event. Ticks count from reset; they may wrap around at 2^32, because
 * only differences matter: an event may lie at most 2^31 - 1 ticks ahead of the
 * open tick, what lies further counts as backwards. For a direct input, (x, y, channel) names the input neuron
 * and value is the change of its level, or the payload of a spike. For an
 * event-counting input, x and y are the sensor's, channel is the polarity
 * (0 or 1) and value counts the events (1 or more). */
typedef struct es_event {
    uint32_t tick;
    uint16_t x;
    uint16_t y;
    uint16_t channel;
    int16_t value;
} es_event;

typedef struct es_stats {
    uint64_t input_events; /* accepted by es_net_push */
    uint64_t events;       /* emitted by all populations, the input included */
    uint64_t synops;       /* (event, target neuron) pairs */
    uint64_t ticks;        /* ticks closed since es_net_init */
    uint64_t windows;      /* windows closed since es_net_init */
} es_stats;

typedef struct es_net {
    const es_model *model;
    uint8_t *arena;
    es_stats stats;
    uint32_t tick;         /* the open tick */
    uint32_t window_start; /* first tick of the open window */
    uint32_t decided;      /* after so many of its ticks the open window was decided; 0: it is not */
    uint32_t tick_input;   /* sum of |value| in the open tick (spike inputs) */
    uint8_t plan;          /* es_plan */
    uint8_t state;         /* see es_net.c */
    bool look;             /* early exit: scores may have changed since they were looked at */
    bool pending;          /* something is to be evaluated when the tick closes */
    uint8_t under_way;     /* after so many further ticks all that was sent late has arrived */
#ifdef ES_PC
    struct es_pc *pc; /* NULL, or what computes in bulk (edgespike/pc/es_pc.h) */
#endif
} es_net;

/* Lays out the arena and resets. */
int es_net_init(es_net *net, const es_model *model, es_plan plan, void *arena, size_t arena_size);

/* Back to the model's initial state at tick 0. Statistics stay. */
int es_net_reset(es_net *net);

/* Integrates events in order; an event of a later tick closes the ticks before
 * it. Returns ES_WINDOW when a window closed before event number *used: read
 * the output, then push the rest. The output of a closed window stays until the
 * next event is pushed, or the next advance or finish: they open the next window,
 * from the initial state. With early exit it returns ES_WINDOW as soon as the window
 * is decided; then net->decided says after how many ticks, further events of that
 * window (or sample, without windows) are passed over, its output stays until the
 * next window begins, and its end is not told again. On an error *used is the number of events taken; event
 * number *used is the one refused, and the network is as if it had not been given. */
int es_net_push(es_net *net, const es_event *events, size_t count, size_t *used);

/* Closes ticks until `tick` is the open one. Returns ES_WINDOW when it stopped
 * at the end of a window: read the output, then call again. */
int es_net_advance(es_net *net, uint32_t tick);

/* Closes the open tick and the sample, which need not be a whole window.
 * Afterwards only output, state, statistics and reset are allowed. */
int es_net_finish(es_net *net);

/* The scores of the last closed tick: accumulators, levels, spike counts or
 * membranes, as the last population has them. (Accumulators and membranes that the input
 * reaches directly hold the open tick's events already.) In the one-shot plan there are scores
 * only once the window or the sample has ended. `count` must be es_output_size. */
int es_net_output(const es_net *net, int32_t *scores, size_t count);

/* Levels (or, for spiking and accumulator populations, membranes or
 * accumulators; zeros for a spike input) of one population in (y, x, channel)
 * order, for tests and views. Streaming plan only. `count` must be its number of neurons. */
int es_net_state(const es_net *net, uint32_t population, int32_t *values, size_t count);

/* Events emitted by one population, and synaptic operations that it caused. */
int es_net_population_stats(const es_net *net, uint32_t population, uint64_t *events, uint64_t *synops);

/* Zeroes all statistics. */
void es_net_clear_stats(es_net *net);

/* Runs the model's golden self-test, if it has one; ES_ERR_DIGEST if a bit
 * differs. `scores` is room for es_output_size values. Resets the network before
 * and after; the statistics count the test's work. */
int es_net_self_test(es_net *net, int32_t *scores, size_t count);

/* CRC-32 as in zlib, PNG and Ethernet; start with crc = 0. */
uint32_t es_crc32(uint32_t crc, const void *data, size_t size);

#ifdef __cplusplus
}
#endif

#endif
