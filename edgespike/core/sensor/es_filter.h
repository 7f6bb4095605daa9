/* Filters for the events of a camera, before a network or a link: crop, hot pixels, background
 * activity, refractory period, downsampling, polarities together, and a cap on the rate.
 *
 * They work in this order, each on what the one before let through, event by event; so any pieces
 * of a stream give what the whole gives. Times are u32 microseconds that may wrap around: what lies
 * a multiple of 2^32 us (71.6 minutes) back looks recent.
 *
 * No memory is taken but the caller's, nothing else of the core is needed.
 */
#ifndef ES_FILTER_H
#define ES_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct es_pixel_event {
    uint32_t time;
    uint16_t x;
    uint16_t y;
    uint16_t polarity;
    uint16_t reserved;
} es_pixel_event;

/* What each filter took away is counted by these numbers. */
enum {
    ES_FILTER_CROP,
    ES_FILTER_HOT,
    ES_FILTER_BACKGROUND,
    ES_FILTER_REFRACTORY,
    ES_FILTER_RATE,
    ES_FILTER_COUNT
};

/* 0 switches a filter off, but for the crop, which is the part of the sensor that is looked at. */
typedef struct es_filter_settings {
    uint16_t x, y;          /* of the crop's corner; its pixels count from there */
    uint16_t width, height; /* of the crop, at least 1 */
    uint16_t hot_events;    /* a pixel with more events in 100 ms is shut until a quieter 100 ms has passed */
    uint32_t background_us; /* an event needs one of a neighbour, or of its own pixel's past, that recent */
    uint32_t refractory_us; /* a pixel is silent for so long after an event that passed */
    uint16_t downsample;    /* N: N x N pixels become one, which has the events of all; 1 or 0: none */
    bool merge;             /* all polarities become 0 */
    uint32_t rate;          /* events a second that pass at most, thinned evenly */
} es_filter_settings;

typedef struct es_filter {
    es_filter_settings settings;
    uint32_t removed[ES_FILTER_COUNT];
    uint32_t *background; /* by pixel: time of the last event + 1; 0: none */
    uint32_t *refractory; /* by pixel: time of the last event that passed + 1; 0: none */
    uint32_t *hot;        /* by pixel: number of its interval << 16 | events; the highest bit of the events: shut */
    uint32_t interval_us; /* of the rate cap */
    uint32_t allowed;     /* events in an interval */
    uint32_t interval;    /* its number */
    uint32_t expected;    /* events of the interval before */
    uint32_t seen;        /* events of this one */
    uint32_t credit;      /* towards the next event that passes */
    bool started;
} es_filter;

/* Bytes of memory that the settings need; 0 when they make no sense. */
size_t es_filter_memory(const es_filter_settings *settings);

/* Memory: es_filter_memory bytes at a multiple of 4. False when the settings make no sense. */
bool es_filter_init(es_filter *filter, const es_filter_settings *settings, void *memory);

/* Forgets everything but the counts of what was removed. */
void es_filter_reset(es_filter *filter);

/* Whether an event passes; if so, it may have changed. Times must not decrease. */
bool es_filter_pass(es_filter *filter, es_pixel_event *event);

#ifdef __cplusplus
}
#endif
#endif
