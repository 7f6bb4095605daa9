#include "es_window.h"

#include <string.h>

static uint32_t ring_samples(const es_window_settings *settings)
{
    return (uint32_t)settings->length + settings->hop;
}

size_t es_window_memory(const es_window_settings *settings)
{
    if (settings->columns == 0 || settings->length == 0 || settings->hop == 0 || settings->width == 0 ||
        settings->channels == 0) {
        return 0;
    }
    return (size_t)ring_samples(settings) * settings->columns * sizeof(int16_t);
}

bool es_window_init(es_window *window, const es_window_settings *settings, void *memory)
{
    memset(window, 0, sizeof *window);
    if (es_window_memory(settings) == 0) {
        return false;
    }
    window->settings = settings;
    window->ring = (int16_t *)memory;
    es_window_reset(window);
    return true;
}

void es_window_reset(es_window *window)
{
    const es_window_settings *settings = window->settings;

    window->newest = ring_samples(settings) - 1;
    window->missing = settings->length;
    window->entry = (uint32_t)settings->length * settings->columns; /* nothing is left to tell */
    window->told = false;
}

/* Halves a column's table until one place is left: how many thresholds a number has reached. */
static int16_t level_of(const es_window_settings *settings, uint32_t column, int32_t value)
{
    const int32_t *table = settings->threshold + column * settings->thresholds;
    uint32_t low = 0, high = settings->thresholds;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (table[middle] <= value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (int16_t)(settings->first_level + (int32_t)low);
}

bool es_window_sample(es_window *window, const int32_t *values)
{
    const es_window_settings *settings = window->settings;
    bool was_told = window->missing == 0;

    window->told = window->told || was_told;
    window->newest = window->newest + 1 < ring_samples(settings) ? window->newest + 1 : 0;
    for (uint32_t column = 0; column < settings->columns; column++) {
        window->ring[window->newest * settings->columns + column] = level_of(settings, column, values[column]);
    }
    window->missing = (was_told ? settings->hop : window->missing) - 1;
    window->entry = window->missing == 0 ? 0 : (uint32_t)settings->length * settings->columns;
    return window->missing == 0;
}

/* The level of a column at a place so many samples before the newest one. */
static int16_t level_before(const es_window *window, uint32_t samples, uint32_t column)
{
    uint32_t size = ring_samples(window->settings);
    uint32_t place = window->newest >= samples ? window->newest - samples : window->newest + size - samples;

    return window->ring[place * window->settings->columns + column];
}

bool es_window_next(es_window *window, uint32_t tick, es_event *event)
{
    const es_window_settings *settings = window->settings;

    while (window->entry < (uint32_t)settings->length * settings->columns) {
        uint32_t position = window->entry / settings->columns, column = window->entry % settings->columns;
        uint32_t neuron = position * settings->position_stride + column * settings->column_stride;
        uint32_t age = settings->length - 1u - position;
        int32_t now = level_before(window, age, column);
        int32_t before = settings->initial != NULL ? settings->initial[neuron] : 0;

        if (window->told) {
            before = level_before(window, age + settings->hop, column);
        }
        window->entry++;
        if (now != before) {
            event->tick = tick;
            event->y = (uint16_t)(neuron / settings->channels / settings->width);
            event->x = (uint16_t)(neuron / settings->channels % settings->width);
            event->channel = (uint16_t)(neuron % settings->channels);
            event->value = (int16_t)(now - before);
            return true;
        }
    }
    return false;
}
