#include "es_encode.h"

#include <string.h>

enum { LARGEST = (1 << 30) - 1, GREATEST_ANSWER = 255, PARTS = 64 };

/* floor(255 * exp(-(i / 64)^2 / 2) + 1/2): a neuron's answer at i 64ths of the width from its value. */
static const uint8_t gaussian[] = {
    255, 255, 255, 255, 255, 254, 254, 253, 253, 252, 252, 251, 251, 250, 249, 248, 247, 246, 245, 244,
    243, 242, 240, 239, 238, 236, 235, 233, 232, 230, 228, 227, 225, 223, 221, 220, 218, 216, 214, 212,
    210, 208, 206, 203, 201, 199, 197, 195, 192, 190, 188, 186, 183, 181, 179, 176, 174, 172, 169, 167,
    164, 162, 159, 157, 155, 152, 150, 147, 145, 143, 140, 138, 135, 133, 131, 128, 126, 124, 121, 119,
    117, 114, 112, 110, 108, 106, 103, 101, 99, 97, 95, 93, 91, 89, 87, 85, 83, 81, 79, 77,
    75, 73, 72, 70, 68, 66, 65, 63, 61, 60, 58, 57, 55, 54, 52, 51, 49, 48, 47, 45,
    44, 43, 41, 40, 39, 38, 37, 36, 35, 33, 32, 31, 30, 29, 28, 28, 27, 26, 25, 24,
    23, 23, 22, 21, 20, 20, 19, 18, 18, 17, 16, 16, 15, 15, 14, 14, 13, 13, 12, 12,
    11, 11, 10, 10, 10, 9, 9, 8, 8, 8, 7, 7, 7, 7, 6, 6, 6, 6, 5, 5,
    5, 5, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};

size_t es_encode_memory(const es_encode_settings *settings)
{
    size_t neurons = (size_t)settings->columns * (settings->units > 0 ? settings->units : 1u);

    if (settings->columns == 0 || settings->code > ES_ENCODE_LATENCY) {
        return 0;
    }
    if (settings->code == ES_ENCODE_DELTA) {
        if (settings->threshold < 1 || settings->most < 1 || settings->units > 0) {
            return 0;
        }
    } else if (settings->low < -LARGEST || settings->high > LARGEST || settings->low >= settings->high ||
               settings->high - settings->low > LARGEST || settings->steps < 1 || settings->units == 1 ||
               (settings->units > 1 && settings->width < 1)) {
        return 0;
    }
    return 2 * neurons * sizeof(int32_t);
}

bool es_encode_init(es_encoder *encoder, const es_encode_settings *settings, void *memory)
{
    memset(encoder, 0, sizeof *encoder);
    if (es_encode_memory(settings) == 0) {
        return false;
    }
    encoder->settings = *settings;
    if (settings->code == ES_ENCODE_DELTA) {
        encoder->settings.steps = 1;
    }
    encoder->neurons = (uint32_t)settings->columns * (settings->units > 0 ? settings->units : 1u);
    encoder->input = (int32_t *)memory;
    encoder->state = encoder->input + encoder->neurons;
    es_encode_reset(encoder);
    return true;
}

void es_encode_reset(es_encoder *encoder)
{
    memset(encoder->input, 0, 2 * encoder->neurons * sizeof *encoder->input);
    encoder->step = encoder->settings.steps; /* no event is left */
    encoder->started = false;
}

static int32_t within(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* How many events lie between the level that was told last and the value: below 0 where it fell. */
static int32_t crossings(es_encoder *encoder, uint32_t neuron, int32_t value)
{
    const es_encode_settings *settings = &encoder->settings;
    int32_t *told = &encoder->state[neuron];
    int32_t count;

    if (!encoder->started) {
        *told = value;
    }
    count = within((value - *told) / settings->threshold, -settings->most, settings->most);
    *told += count * settings->threshold;
    return count;
}

/* The answer of a unit of a Gaussian population, 0 to 255. */
static int32_t answer(const es_encode_settings *settings, uint32_t unit, int32_t value)
{
    uint64_t span = (uint64_t)(settings->high - settings->low);
    int32_t centre = settings->low + (int32_t)(unit * span / (settings->units - 1u));
    uint64_t distance = (uint64_t)(value > centre ? value - centre : centre - value);

    distance = distance * PARTS / (uint32_t)settings->width;
    return distance < sizeof gaussian ? gaussian[distance] : 0;
}

/* The step at which something so far above the least of a span is told; -1: never. */
static int32_t latency(int32_t above, int32_t span, uint32_t steps)
{
    return above > 0 ? (int32_t)((uint64_t)(span - above) * steps / (uint32_t)span) : -1;
}

static int32_t input_of(es_encoder *encoder, uint32_t neuron, int32_t value)
{
    const es_encode_settings *settings = &encoder->settings;
    int32_t above, span = GREATEST_ANSWER;

    if (settings->code == ES_ENCODE_DELTA) {
        return crossings(encoder, neuron, value);
    }
    if (settings->units > 0) {
        above = answer(settings, neuron % settings->units, value);
    } else {
        above = within(value, settings->low, settings->high) - settings->low;
        span = settings->high - settings->low;
    }
    return settings->code == ES_ENCODE_LATENCY ? latency(above, span, settings->steps) : above;
}

void es_encode_sample(es_encoder *encoder, uint32_t tick, const int32_t *values)
{
    uint32_t units = encoder->neurons / encoder->settings.columns;

    for (uint32_t neuron = 0; neuron < encoder->neurons; neuron++) {
        encoder->input[neuron] = input_of(encoder, neuron, within(values[neuron / units], -LARGEST, LARGEST));
    }
    encoder->started = true;
    encoder->tick = tick;
    encoder->step = encoder->neuron = 0;
}

/* Whether a neuron sends in the present step; a delta code's neuron is asked again until it does not. */
static bool sends(es_encoder *encoder, uint32_t neuron, uint16_t *channel)
{
    const es_encode_settings *settings = &encoder->settings;
    int32_t *input = &encoder->input[neuron];
    int32_t span = settings->units > 0 ? GREATEST_ANSWER : settings->high - settings->low;

    switch (settings->code) {
    case ES_ENCODE_DELTA:
        *channel = *input > 0 ? ES_ENCODE_ON : ES_ENCODE_OFF;
        if (*input == 0) {
            return false;
        }
        *input -= *input > 0 ? 1 : -1;
        return true;
    case ES_ENCODE_RATE:
        encoder->state[neuron] += *input;
        if (encoder->state[neuron] < span) {
            return false;
        }
        encoder->state[neuron] -= span;
        return true;
    default:
        return *input == (int32_t)encoder->step;
    }
}

bool es_encode_next(es_encoder *encoder, es_event *event)
{
    const es_encode_settings *settings = &encoder->settings;
    uint32_t units = encoder->neurons / settings->columns;

    for (; encoder->step < settings->steps; encoder->step++, encoder->neuron = 0) {
        while (encoder->neuron < encoder->neurons) {
            uint32_t neuron = encoder->neuron;
            uint16_t channel = 0;
            bool sent = sends(encoder, neuron, &channel);

            if (!sent || settings->code != ES_ENCODE_DELTA) {
                encoder->neuron++;
            }
            if (sent) {
                uint64_t later = (uint64_t)encoder->step * settings->period / settings->steps;

                event->tick = encoder->tick + (uint32_t)later;
                event->x = (uint16_t)(neuron / units);
                event->y = (uint16_t)(neuron % units);
                event->channel = channel;
                event->value = 1;
                return true;
            }
        }
    }
    return false;
}
