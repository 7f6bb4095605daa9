/* Event words: input events packed into 2, 3, 4 or 6 bytes each, as EVENTS
 * frames carry them (docs/link.md). The same code on both ends.
 */
#ifndef ES_WORDS_H
#define ES_WORDS_H

#include "edgespike.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How an input neuron's place is packed: the bits of the greatest channel, x and y. */
typedef struct es_words_layout {
    uint8_t channel_bits;
    uint8_t x_bits;
    uint8_t y_bits;
} es_words_layout;

typedef struct es_words_form {
    uint8_t bytes;      /* of a word: 2, 3, 4, 6 */
    uint8_t value_bits; /* 0: every value is 1 */
} es_words_form;

typedef struct es_words_reader {
    const uint8_t *at;
    const uint8_t *end;
    uint32_t tick;
    es_words_layout layout;
    es_words_form form;
} es_words_reader;

/* The layout of an input; its channels are 2 where it counts events of a sensor. */
es_words_layout es_words_layout_of(uint32_t height, uint32_t width, uint32_t channels);

/* Packs events from the front, until `room` bytes are used up or the next event
 * needs another frame: it goes back in time, lies far ahead, or its value does
 * not fit the form. Chooses the form that makes them shortest; ticks count from
 * the first event's. Returns how many were packed, *size their bytes; 0 when
 * the first lies outside the layout. */
size_t es_words_pack(es_words_layout layout, const es_event *events, size_t count, uint8_t *out, size_t room,
                     es_words_form *form, size_t *size);

/* Begins to read words. ES_ERR_FRAME if the form is impossible or the words are not whole. */
int es_words_open(es_words_reader *reader, es_words_layout layout, es_words_form form, uint32_t tick,
                  const uint8_t *words, size_t size);

/* Reads up to `capacity` events; returns how many. Fewer only at the end. */
size_t es_words_read(es_words_reader *reader, es_event *events, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
