/* The board's side of the link (docs/link.md): takes bytes, runs the network,
 * sends results. It does no input or output of its own and keeps everything in
 * buffers of the caller, so it runs unchanged on a microcontroller and inside a
 * test.
 *
 *     es_device_init(&device, &config);
 *     on every received byte, also in an interrupt:  es_device_receive(&device, &byte, 1);
 *     for ever:  es_device_poll(&device);
 */
#ifndef ES_DEVICE_H
#define ES_DEVICE_H

#include "edgespike.h"
#include "es_frame.h"
#include "es_words.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Receive memory kept for commands beyond the window that hosts may fill. */
#define ES_DEVICE_RESERVE 256

/* Bytes of frame memory: two received frames, one to send. */
#define ES_DEVICE_FRAME_BYTES(payload) (2 * ((payload) + ES_FRAME_EXTRA) + ES_FRAME_BOUND(payload))

#define ES_DEVICE_CHUNK 32 /* events unpacked at a time */

typedef struct es_device_config {
    uint8_t *model; /* aligned to ES_ALIGNMENT, as is the arena */
    uint32_t model_capacity;
    uint8_t *arena; /* the network's arena, then results until they are acknowledged */
    uint32_t arena_capacity;
    uint8_t *ring; /* received bytes */
    uint32_t ring_size; /* a power of two, at least ES_DEVICE_RESERVE + ES_FRAME_BOUND(max_payload) */
    uint8_t *frames; /* ES_DEVICE_FRAME_BYTES(max_payload) */
    uint16_t max_payload; /* ES_PAYLOAD_MIN to ES_PAYLOAD_MAX */
    const char *name; /* UTF-8, the first 32 bytes count */
    uint32_t boot_epoch; /* differs after each start */
    void (*write)(void *context, const uint8_t *bytes, size_t count); /* takes all bytes before it returns */
    uint32_t (*clock_us)(void *context); /* microseconds modulo 2^32; NULL: compute time is not measured */
    /* Changes the baud of the serial line if `now`, when all that was written has left; else only says whether
     * it could. NULL, or without a clock: the line keeps its baud. */
    bool (*set_baud)(void *context, uint32_t baud, bool now);
    uint32_t baud; /* that it starts with */
    void *context;
} es_device_config;

typedef enum es_stream_state { ES_STREAM_NONE, ES_STREAM_LOSSLESS, ES_STREAM_LIVE, ES_STREAM_HALTED } es_stream_state;

/* What has been counted since a window began. */
typedef struct es_device_window {
    uint32_t number;
    uint32_t lost;
    uint32_t rejected;
    uint32_t compute_us;
    es_stats before; /* the network's statistics when it began */
} es_device_window;

typedef struct es_device {
    es_device_config config;

    volatile uint32_t received; /* bytes put into the ring; written by es_device_receive alone */
    volatile uint32_t dropped;  /* bytes for which the ring had no room */
    volatile uint32_t taken;    /* bytes taken from the ring; written by es_device_poll alone */
    uint32_t credited;          /* `taken` when the last credit was sent */
    uint32_t credited_at;       /* and the clock */
    es_frame_reader reader;
    uint8_t *spare_frame;
    uint8_t *send_frame;
    bool announced;

    uint32_t baud;
    uint32_t former_baud; /* comes back unless a frame comes with the new one; 0: that has happened */
    uint32_t baud_since;
    uint32_t baud_from; /* `received` then: bytes from here on came with the new one */

    bool has_model;
    bool uploading;
    uint8_t plan;
    uint32_t upload_size; /* of the model in use, or being uploaded, or refused last */
    uint32_t upload_crc;
    uint32_t upload_next;
    uint32_t upload_running_crc;
    bool upload_gap_told;
    int32_t upload_status; /* how the last MODEL_END ended */
    uint32_t upload_needed;
    uint32_t tested; /* request number of the last SELF_TEST, and how it ended */
    int32_t test_status;
    uint32_t test_events;
    uint32_t test_digests[2]; /* expected, given */
    es_model model;
    es_net net;
    uint32_t arena_used;
    es_words_layout layout;

    uint8_t *results;
    uint32_t result_bytes; /* of one */
    uint32_t result_slots;
    uint32_t result_next;         /* number of the next result */
    uint32_t result_acknowledged; /* all before are */

    uint8_t stream;         /* es_stream_state */
    uint32_t stream_number; /* 0: none */
    bool gap_told;
    uint16_t sequence; /* of the next stream frame */
    uint16_t sample;
    uint32_t next_event;
    uint32_t lost;
    uint32_t rejected;
    uint32_t rejected_by_cause[4]; /* time, range, value, tick full */
    uint64_t compute_us;
    es_device_window window;
    int32_t halt_code;
    uint32_t halt_word;
    uint8_t halt_type;

    bool busy; /* a stream frame is being handled, in the buffer that the reader does not use */
    es_frame frame;
    uint32_t pieces; /* of work done for it, and the clock, since it moved on by an event */
    uint32_t busy_since;
    es_words_reader words;
    es_event chunk[ES_DEVICE_CHUNK];
    uint32_t chunk_count;
    uint32_t chunk_used;
} es_device;

/* ES_ERR_ARGUMENT or ES_ERR_ALIGN if the configuration cannot work. */
int es_device_init(es_device *device, const es_device_config *config);

/* Puts received bytes into the ring; those that do not fit are dropped and
 * counted. May be called from one interrupt handler while es_device_poll runs. */
void es_device_receive(es_device *device, const uint8_t *bytes, size_t count);

/* Bytes that es_device_receive can take now. */
uint32_t es_device_room(const es_device *device);

/* Does a bounded piece of work; false if there was none. */
bool es_device_poll(es_device *device);

/* After es_device_poll returned false, with interrupts off: whether nothing is to be done before a byte comes. */
bool es_device_may_sleep(const es_device *device);

#ifdef __cplusplus
}
#endif

#endif
