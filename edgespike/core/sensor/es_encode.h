/* Encoders: samples of ordinary sensors as events for a network.
 *
 * A sample is one whole number from each column (channel of the sensor), taken at one time. Numbers
 * count as within +-(2^30 - 1). Codes, by column:
 *
 *   delta    send-on-delta: an event, ON or OFF, whenever the value has gone another threshold away
 *   rate     the greater the value, the more events
 *   latency  one event a sample; the greater the value, the sooner
 *
 * Rate and latency may stand behind a Gaussian population: each column has several neurons, whose
 * answers are the greater the nearer the value is to their own. What all this means to the bit is in
 * docs/sensors.md.
 *
 * No memory is taken but the caller's, nothing else of the core is needed.
 */
#ifndef ES_ENCODE_H
#define ES_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../edgespike.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ES_ENCODE_DELTA, ES_ENCODE_RATE, ES_ENCODE_LATENCY };
enum { ES_ENCODE_OFF, ES_ENCODE_ON }; /* the channel of events of a delta code; else it is 0 */

typedef struct es_encode_settings {
    uint8_t code;
    uint16_t columns;  /* at least 1 */
    uint16_t most;     /* delta: events of a column for one sample, at least 1 */
    int32_t threshold; /* delta: at least 1 */
    int32_t low;       /* others: from this on ... */
    int32_t high;      /* ... to this; 1 to 2^30 - 1 above low */
    uint16_t steps;    /* others: parts of a sample's time, at which events may lie; at least 1 */
    uint16_t units;    /* others: neurons of a column's population, at least 2; 0: none */
    int32_t width;     /* of the Gaussians: their standard deviation, at least 1 */
    uint32_t period;   /* ticks from a sample to the next */
} es_encode_settings;

typedef struct es_encoder {
    es_encode_settings settings;
    uint32_t neurons; /* columns * units */
    int32_t *input;   /* by neuron: what the sample says to it */
    int32_t *state;   /* by neuron: what it keeps from sample to sample */
    uint32_t tick;    /* of the sample */
    uint32_t step;    /* the next event lies here or later ... */
    uint32_t neuron;  /* ... and in the step here or further on */
    bool started;
} es_encoder;

/* Bytes of memory that the settings need; 0 when they make no sense. */
size_t es_encode_memory(const es_encode_settings *settings);

/* Memory: es_encode_memory bytes at a multiple of 4. False when the settings make no sense. */
bool es_encode_init(es_encoder *encoder, const es_encode_settings *settings, void *memory);

/* Begins a new stream. */
void es_encode_reset(es_encoder *encoder);

/* Takes a sample, one value a column, at a tick. Events of the one before that were not taken are lost. */
void es_encode_sample(es_encoder *encoder, uint32_t tick, const int32_t *values);

/* The sample's next event, in order of time: x is the column, y the unit. False when there is none. */
bool es_encode_next(es_encoder *encoder, es_event *event);

#ifdef __cplusplus
}
#endif
#endif
