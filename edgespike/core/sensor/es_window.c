#include "es_window.h"

#include <string.h>

static uint32_t entries(const es_window_settings *settings)
{
    return (uint32_t)settings->length * settings->columns;
}

size_t es_window_memory(const es_window_settings *settings)
{
    if (entries(settings) == 0 || settings->hop == 0 || settings->width == 0 || settings->channels == 0 ||
        settings->deadband < 0) {
        return 0;
    }
    return settings->columns * sizeof(int32_t) + (size_t)2 * entries(settings) * sizeof(int16_t);
}

bool es_window_init(es_window *window, const es_window_settings *settings, void *memory)
{
    memset(window, 0, sizeof *window);
    if (es_window_memory(settings) == 0) {
        return false;
    }
    window->settings = settings;
    window->held = (int32_t *)memory;
    window->ring = (int16_t *)(window->held + settings->columns);
    window->told = window->ring + entries(settings);
    es_window_reset(window);
    return true;
}

/* The input neuron of an entry: a position in the window, and a column. */
static uint32_t neuron_of(const es_window_settings *settings, uint32_t entry)
{
    return entry / settings->columns * settings->position_stride + entry % settings->columns * settings->column_stride;
}

void es_window_reset(es_window *window)
{
    const es_window_settings *settings = window->settings;

    for (uint32_t entry = 0; entry < entries(settings); entry++) {
        window->told[entry] = 0;
        if (settings->initial != NULL) {
            window->told[entry] = settings->initial[neuron_of(settings, entry)];
        }
    }
    es_window_restart(window);
}

void es_window_restart(es_window *window)
{
    window->newest = window->settings->length - 1u;
    window->missing = window->settings->length;
    window->entry = entries(window->settings); /* nothing to tell */
    window->empty = true;
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

/* Takes a number of a column, unless it is within the deadband of the one that counts. */
static int32_t hold(es_window *window, uint32_t column, int32_t value)
{
    int32_t *held = &window->held[column];
    int32_t distance = value > *held ? value - *held : *held - value;

    if (window->empty || distance >= window->settings->deadband) {
        *held = value;
    }
    return *held;
}

bool es_window_sample(es_window *window, const int32_t *values)
{
    const es_window_settings *settings = window->settings;

    window->newest = window->newest + 1 < settings->length ? window->newest + 1 : 0;
    for (uint32_t column = 0; column < settings->columns; column++) {
        int32_t value = hold(window, column, values[column]);

        window->ring[window->newest * settings->columns + column] = level_of(settings, column, value);
    }
    window->empty = false;
    window->missing = (window->missing > 0 ? window->missing : settings->hop) - 1u;
    window->entry = window->missing == 0 ? 0 : entries(settings);
    return window->missing == 0;
}

/* The present level of an entry; the oldest sample lies behind the newest one. */
static int16_t level_at(const es_window *window, uint32_t entry)
{
    uint32_t size = entries(window->settings);
    uint32_t place = (window->newest + 1) * window->settings->columns + entry;

    return window->ring[place < size ? place : place - size];
}

bool es_window_next(es_window *window, uint32_t tick, es_event *event)
{
    const es_window_settings *settings = window->settings;

    while (window->entry < entries(settings)) {
        uint32_t entry = window->entry++;
        int16_t now = level_at(window, entry), before = window->told[entry];

        if (now != before) {
            uint32_t neuron = neuron_of(settings, entry);

            window->told[entry] = now;
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
