#include "es_filter.h"

#include <string.h>

enum { HOT_INTERVAL_US = 100000, RATE_INTERVAL_US = 1000, RATE_EVENTS = 64, SECOND_US = 1000000 };
enum { COUNT_BITS = 16 };
#define SHUT 0x8000u
#define MOST 0x7FFFu /* events of a pixel that are counted in an interval */

static size_t pixels(const es_filter_settings *settings)
{
    return (size_t)settings->width * settings->height;
}

size_t es_filter_memory(const es_filter_settings *settings)
{
    size_t tables = (settings->hot_events > 0 ? 1u : 0u) + (settings->background_us > 0 ? 1u : 0u) +
                    (settings->refractory_us > 0 ? 1u : 0u);

    if (pixels(settings) == 0 || settings->width > 65536 - settings->x || settings->height > 65536 - settings->y ||
        settings->hot_events > MOST) {
        return 0;
    }
    return (tables > 0 ? tables : 1) * pixels(settings) * sizeof(uint32_t);
}

bool es_filter_init(es_filter *filter, const es_filter_settings *settings, void *memory)
{
    uint32_t *table = (uint32_t *)memory;

    memset(filter, 0, sizeof *filter);
    if (es_filter_memory(settings) == 0) {
        return false;
    }
    filter->settings = *settings;
    if (settings->hot_events > 0) {
        filter->hot = table;
        table += pixels(settings);
    }
    if (settings->background_us > 0) {
        filter->background = table;
        table += pixels(settings);
    }
    if (settings->refractory_us > 0) {
        filter->refractory = table;
    }
    filter->interval_us = RATE_INTERVAL_US;
    filter->allowed = settings->rate / (SECOND_US / RATE_INTERVAL_US);
    if (settings->rate > 0 && filter->allowed < RATE_EVENTS) {
        filter->interval_us = RATE_EVENTS * SECOND_US / settings->rate;
        filter->allowed = RATE_EVENTS;
    }
    es_filter_reset(filter);
    return true;
}

static void clear(const es_filter *filter, uint32_t *table)
{
    if (table != NULL) {
        memset(table, 0, pixels(&filter->settings) * sizeof *table);
    }
}

void es_filter_reset(es_filter *filter)
{
    clear(filter, filter->hot);
    clear(filter, filter->background);
    clear(filter, filter->refractory);
    filter->started = false;
    filter->credit = 0;
}

/* Whether the time kept in a table is less than a span ago; 0: there is none. */
static bool is_recent(uint32_t kept, uint32_t now, uint32_t span)
{
    return kept != 0 && now - (kept - 1) < span;
}

/* How a time is kept: never as 0. The one time that would be 0 is kept as a microsecond later. */
static uint32_t keep(uint32_t time)
{
    return time + 1 != 0 ? time + 1 : 1;
}

static bool passes_crop(const es_filter_settings *settings, es_pixel_event *event)
{
    if (event->x < settings->x || event->y < settings->y || event->x - settings->x >= settings->width ||
        event->y - settings->y >= settings->height) {
        return false;
    }
    event->x = (uint16_t)(event->x - settings->x);
    event->y = (uint16_t)(event->y - settings->y);
    return true;
}

/* A pixel that was shut stays so through the interval after the one in which it was too busy, and
 * for as long as it goes on like that. */
static bool passes_hot(es_filter *filter, size_t pixel, uint32_t time)
{
    uint32_t interval = (time / HOT_INTERVAL_US + 1) & 0xFFFF;
    uint32_t kept = filter->hot[pixel];
    uint32_t count = kept & MOST;
    bool shut = (kept & SHUT) != 0;

    if (kept >> COUNT_BITS != interval) {
        bool next = (((kept >> COUNT_BITS) + 1) & 0xFFFF) == interval;
        shut = next && count > filter->settings.hot_events;
        count = 0;
    }
    count += count < MOST;
    filter->hot[pixel] = interval << COUNT_BITS | (shut ? SHUT : 0) | count;
    return !shut && count <= filter->settings.hot_events;
}

static bool passes_background(es_filter *filter, uint16_t x, uint16_t y, uint32_t time)
{
    const es_filter_settings *settings = &filter->settings;
    uint16_t left = x > 0 ? (uint16_t)(x - 1) : x;
    uint16_t right = x + 1 < settings->width ? (uint16_t)(x + 1) : x;
    uint16_t top = y > 0 ? (uint16_t)(y - 1) : y;
    uint16_t bottom = y + 1 < settings->height ? (uint16_t)(y + 1) : y;
    bool found = false;

    for (uint32_t row = top; row <= bottom && !found; row++) {
        for (uint32_t column = left; column <= right && !found; column++) {
            uint32_t kept = filter->background[row * settings->width + column];
            found = (row != y || column != x) && is_recent(kept, time, settings->background_us);
        }
    }
    filter->background[(size_t)y * settings->width + x] = keep(time);
    return found;
}

static bool passes_refractory(es_filter *filter, size_t pixel, uint32_t time)
{
    if (is_recent(filter->refractory[pixel], time, filter->settings.refractory_us)) {
        return false;
    }
    filter->refractory[pixel] = keep(time);
    return true;
}

/* The cap allows so many events in an interval. Of those that come, the share passes that the
 * interval before would have needed, one in so many: evenly, and never none. When more come than
 * before, the share shrinks as they come: e times as many let twice as many pass, once. */
static bool passes_rate(es_filter *filter, uint32_t time)
{
    uint32_t interval = time / filter->interval_us;
    uint32_t expected;

    if (!filter->started || interval != filter->interval) {
        filter->expected = filter->started && interval == filter->interval + 1 ? filter->seen : 0;
        filter->interval = interval;
        filter->seen = 0;
        filter->started = true;
    }
    filter->seen++;
    expected = filter->expected > filter->seen ? filter->expected : filter->seen;
    if (filter->credit >= expected) {
        filter->credit = expected - 1;
    }
    filter->credit += filter->allowed < expected ? filter->allowed : expected;
    if (filter->credit < expected) {
        return false;
    }
    filter->credit -= expected;
    return true;
}

static bool removes(es_filter *filter, int cause, bool passes)
{
    filter->removed[cause] += !passes;
    return !passes;
}

bool es_filter_pass(es_filter *filter, es_pixel_event *event)
{
    const es_filter_settings *settings = &filter->settings;
    size_t pixel;

    if (removes(filter, ES_FILTER_CROP, passes_crop(settings, event))) {
        return false;
    }
    pixel = (size_t)event->y * settings->width + event->x;
    if (filter->hot != NULL && removes(filter, ES_FILTER_HOT, passes_hot(filter, pixel, event->time))) {
        return false;
    }
    if (filter->background != NULL &&
        removes(filter, ES_FILTER_BACKGROUND, passes_background(filter, event->x, event->y, event->time))) {
        return false;
    }
    if (filter->refractory != NULL &&
        removes(filter, ES_FILTER_REFRACTORY, passes_refractory(filter, pixel, event->time))) {
        return false;
    }
    if (settings->downsample > 1) {
        event->x = (uint16_t)(event->x / settings->downsample);
        event->y = (uint16_t)(event->y / settings->downsample);
    }
    if (settings->merge) {
        event->polarity = 0;
    }
    return settings->rate == 0 || !removes(filter, ES_FILTER_RATE, passes_rate(filter, event->time));
}
