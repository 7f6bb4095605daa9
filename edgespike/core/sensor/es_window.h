/* A sliding window: the newest samples of a sensor as the input levels of a network.
 *
 * The network sees `length` samples of each column, the newest last, and is told only what changed
 * since it was told before. A sample is one whole number a column, within +-(2^30 - 1); its level is found among
 * thresholds, so any function of the number that does not fall is exact. See docs/sensors.md.
 *
 * No memory is taken but the caller's, nothing else of the core is needed.
 */
#ifndef ES_WINDOW_H
#define ES_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../edgespike.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Input neurons count as everywhere: (y * width + x) * channels + channel. */
typedef struct es_window_settings {
    uint16_t columns;          /* of a sample, at least 1 */
    uint16_t length;           /* samples that the network sees, at least 1 */
    uint16_t hop;              /* samples from one result to the next, at least 1 */
    int32_t deadband;          /* a number counts as the one before until it is so far away; 0: as it is */
    uint16_t width;            /* of the network's input, at least 1 */
    uint16_t channels;         /* of the network's input, at least 1 */
    uint32_t position_stride;  /* input neurons from a sample to the next */
    uint32_t column_stride;    /* input neurons from a column to the next */
    uint16_t thresholds;       /* in a column's table */
    const int32_t *threshold;  /* columns * thresholds; each table never falls */
    int16_t first_level;       /* of a number below all thresholds; each one that is reached adds 1 */
    const int16_t *initial;    /* by input neuron: the levels after reset; NULL: all 0 */
} es_window_settings;

typedef struct es_window {
    const es_window_settings *settings;
    int32_t *held;    /* by column: the number that counts */
    int16_t *ring;    /* levels of the newest `length` samples */
    int16_t *told;    /* levels that the network knows, oldest first */
    uint32_t newest;  /* place of the newest sample in the ring */
    uint32_t missing; /* samples until the next result */
    uint32_t entry;   /* of the window, the next to be looked at */
    bool empty;       /* no sample since reset or restart */
} es_window;

/* Bytes of memory that the settings need; 0 when they make no sense. */
size_t es_window_memory(const es_window_settings *settings);

/* The settings must stay. Memory: es_window_memory bytes at a multiple of 4. False when the settings
 * make no sense. */
bool es_window_init(es_window *window, const es_window_settings *settings, void *memory);

/* Begins a new stream; the network must be reset too. */
void es_window_reset(es_window *window);

/* Samples were lost: the window fills anew before the next result. The network stays as it is. */
void es_window_restart(es_window *window);

/* Takes a sample, one value a column. True when a result is due: with the sample that fills the window, and
 * after each `hop` further ones. Before it, the network is to be told what es_window_next gives. */
bool es_window_sample(es_window *window, const int32_t *values);

/* The next change of a level, as an event at a tick. False when there is none. */
bool es_window_next(es_window *window, uint32_t tick, es_event *event);

#ifdef __cplusplus
}
#endif
#endif
