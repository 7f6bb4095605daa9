#include "es_words.h"

#define WIDE 6          /* bytes of the form whose value has 16 bits of its own */
#define MOST_STEPS 4    /* words without event before one event; a new frame costs more */
#define LOOK_AHEAD 256  /* events by which a form is chosen */

static const es_words_form wide_form = {WIDE, 16};

static uint8_t bits_below(uint32_t count)
{
    uint8_t bits = 0;
    while (bits < 16 && count - 1u >= (1u << bits))
        bits++;
    return bits;
}

es_words_layout es_words_layout_of(uint32_t height, uint32_t width, uint32_t channels)
{
    es_words_layout layout = {bits_below(channels), bits_below(width), bits_below(height)};
    return layout;
}

/* Where the fields of a word are. */
typedef struct fields {
    uint32_t word_bytes;  /* 2, 3, 4: without the value of the wide form */
    uint32_t address_bits;
    uint32_t value_bits;  /* within the word */
    uint32_t low_bits;    /* address and value */
    uint32_t low_mask;    /* all of them, also the longest step of time */
    uint32_t step_mark;   /* ticks field of a word without event: all ones */
} fields;

static fields fields_of(es_words_layout layout, es_words_form form)
{
    fields f;
    f.word_bytes = form.bytes == WIDE ? 4 : form.bytes;
    f.address_bits = (uint32_t)(layout.channel_bits + layout.x_bits + layout.y_bits);
    f.value_bits = form.bytes == WIDE ? 0 : form.value_bits;
    f.low_bits = f.address_bits + f.value_bits;
    f.low_mask = (uint32_t)(((uint64_t)1 << f.low_bits) - 1u);
    f.step_mark = (uint32_t)(((uint64_t)1 << (8u * f.word_bytes - f.low_bits)) - 1u);
    return f;
}

static bool is_possible(es_words_layout layout, es_words_form form)
{
    uint32_t address_bits = (uint32_t)(layout.channel_bits + layout.x_bits + layout.y_bits);
    if (form.bytes == WIDE)
        return form.value_bits == 16 && address_bits < 32;
    return form.bytes >= 2 && form.bytes <= 4 && form.value_bits <= 16 &&
           address_bits + form.value_bits < 8u * form.bytes;
}

/* ---- writing ---------------------------------------------------------- */

static bool fits_layout(es_words_layout layout, const es_event *event)
{
    return (uint32_t)event->channel >> layout.channel_bits == 0 && (uint32_t)event->x >> layout.x_bits == 0 &&
           (uint32_t)event->y >> layout.y_bits == 0;
}

static bool fits_value(es_words_form form, int16_t value)
{
    int32_t half = form.value_bits ? (int32_t)1 << (form.value_bits - 1) : 0;
    return form.value_bits ? value >= -half && value < half : value == 1;
}

/* The bits of the values of the next events; 0 if all are 1. */
static uint8_t value_bits_of(const es_event *events, size_t count)
{
    es_words_form form = {2, 1};
    bool all_ones = true;
    for (size_t i = 0; i < count; i++) {
        all_ones = all_ones && events[i].value == 1;
        while (!fits_value(form, events[i].value))
            form.value_bits++;
    }
    return all_ones ? 0 : form.value_bits;
}

/* How many words without event come before an event `ticks` later; more than
 * MOST_STEPS if it needs a new frame. */
static uint32_t steps_before(const fields *f, uint32_t ticks)
{
    uint32_t steps = 0;
    while (ticks >= f->step_mark && steps <= MOST_STEPS) {
        ticks -= ticks < f->low_mask ? ticks : f->low_mask;
        steps++;
    }
    return steps;
}

/* Bytes that the events take in a form. */
static uint64_t cost(es_words_layout layout, es_words_form form, const es_event *events, size_t count)
{
    fields f = fields_of(layout, form);
    uint64_t words = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t ticks = i == 0 ? 0 : events[i].tick - events[i - 1].tick;
        words += 1u + steps_before(&f, ticks);
    }
    return words * form.bytes;
}

static es_words_form choose_form(es_words_layout layout, const es_event *events, size_t count)
{
    static const uint8_t sizes[] = {2, 3, 4};
    size_t ahead = count < LOOK_AHEAD ? count : LOOK_AHEAD;
    es_words_form best = wide_form;
    uint64_t least = cost(layout, best, events, ahead);

    for (size_t i = 0; i < sizeof sizes; i++) {
        es_words_form form = {sizes[i], value_bits_of(events, ahead)};
        if (is_possible(layout, form) && cost(layout, form, events, ahead) < least) {
            best = form;
            least = cost(layout, form, events, ahead);
        }
    }
    return best;
}

static uint8_t *put(uint8_t *out, uint32_t word, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        *out++ = (uint8_t)(word >> 8 * i);
    return out;
}

/* A word, in the wide form followed by its value. */
static uint8_t *put_word(uint8_t *out, es_words_form form, const fields *f, uint32_t ticks, uint32_t low,
                         int16_t value)
{
    out = put(out, (uint32_t)((uint64_t)ticks << f->low_bits) | low, f->word_bytes);
    return form.bytes == WIDE ? put(out, (uint16_t)value, 2) : out;
}

static uint32_t low_of(es_words_layout layout, const fields *f, const es_event *event)
{
    uint32_t row = (uint32_t)event->y << layout.x_bits | event->x;
    uint32_t address = row << layout.channel_bits | event->channel;
    uint32_t value = (uint32_t)event->value & ((1u << f->value_bits) - 1u);
    return address | value << f->address_bits;
}

size_t es_words_pack(es_words_layout layout, const es_event *events, size_t count, uint8_t *out, size_t room,
                     es_words_form *form, size_t *size)
{
    uint8_t *at = out;
    size_t i = 0;
    uint32_t tick = count ? events[0].tick : 0;

    *size = 0;
    if (!is_possible(layout, wide_form))
        return 0;
    *form = choose_form(layout, events, count);
    fields f = fields_of(layout, *form);
    for (; i < count; i++) {
        const es_event *event = &events[i];
        uint32_t ticks = event->tick - tick;
        if (ticks > INT32_MAX || !fits_layout(layout, event) || !fits_value(*form, event->value))
            break;
        uint32_t steps = steps_before(&f, ticks);
        if (steps > MOST_STEPS || (steps + 1u) * form->bytes > room - (size_t)(at - out))
            break;
        for (; steps > 0; steps--) {
            uint32_t step = ticks < f.low_mask ? ticks : f.low_mask;
            at = put_word(at, *form, &f, f.step_mark, step, 0);
            ticks -= step;
        }
        at = put_word(at, *form, &f, ticks, low_of(layout, &f, event), event->value);
        tick = event->tick;
    }
    *size = (size_t)(at - out);
    return i;
}

/* ---- reading ---------------------------------------------------------- */

int es_words_open(es_words_reader *reader, es_words_layout layout, es_words_form form, uint32_t tick,
                  const uint8_t *words, size_t size)
{
    if (!is_possible(layout, form) || size % form.bytes != 0)
        return ES_ERR_FRAME;
    reader->at = words;
    reader->end = words + size;
    reader->tick = tick;
    reader->layout = layout;
    reader->form = form;
    return ES_OK;
}

static int16_t value_of(uint32_t field, uint32_t bits)
{
    uint32_t sign = 1u << (bits - 1u);
    return (int16_t)((int32_t)(field ^ sign) - (int32_t)sign);
}

size_t es_words_read(es_words_reader *reader, es_event *events, size_t capacity)
{
    es_words_layout layout = reader->layout;
    fields f = fields_of(layout, reader->form);
    uint32_t bytes = reader->form.bytes;
    size_t count = 0;

    for (; count < capacity && reader->at < reader->end; reader->at += bytes) {
        const uint8_t *at = reader->at;
        uint32_t word = (uint32_t)at[0] | (uint32_t)at[1] << 8;
        if (bytes > 2)
            word |= (uint32_t)at[2] << 16;
        if (bytes > 3)
            word |= (uint32_t)at[3] << 24;
        uint32_t ticks = (uint32_t)((uint64_t)word >> f.low_bits);
        if (ticks == f.step_mark) {
            reader->tick += word & f.low_mask;
            continue;
        }
        reader->tick += ticks;
        es_event *event = &events[count++];
        event->tick = reader->tick;
        event->channel = (uint16_t)(word & ((1u << layout.channel_bits) - 1u));
        event->x = (uint16_t)(word >> layout.channel_bits & ((1u << layout.x_bits) - 1u));
        event->y = (uint16_t)(word >> (layout.channel_bits + layout.x_bits) & ((1u << layout.y_bits) - 1u));
        event->value = 1;
        if (bytes == WIDE)
            event->value = (int16_t)(uint16_t)(at[4] | at[5] << 8);
        else if (f.value_bits)
            event->value = value_of(word >> f.address_bits & ((1u << f.value_bits) - 1u), f.value_bits);
    }
    return count;
}
