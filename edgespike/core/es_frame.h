/* Frames of the link: header, payload and CRC-32, COBS-encoded, ended by a zero
 * byte. The bytes are described in docs/link.md. The same code on both ends.
 */
#ifndef ES_FRAME_H
#define ES_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ES_LINK_MAJOR 1
#define ES_LINK_MINOR 0

#define ES_FRAME_HEADER 8
#define ES_FRAME_EXTRA 12 /* header and CRC: bytes of a decoded frame beside its payload */

#define ES_PAYLOAD_MIN 128
#define ES_PAYLOAD_MAX 4096

/* Greatest size of an encoded frame, with its zero, from the size of its payload. */
#define ES_FRAME_BOUND(payload) ((payload) + ES_FRAME_EXTRA + ((payload) + ES_FRAME_EXTRA) / 254 + 2)

/* Flags. Bits 6 and 7 are the major version. */
#define ES_LINK_RESPONSE 0x02
#define ES_LINK_MORE 0x04
#define ES_LINK_GAP 0x08

typedef enum es_frame_type {
    ES_FRAME_HELLO = 1,
    ES_FRAME_PING = 2,
    ES_FRAME_STATS = 3,
    ES_FRAME_MODEL_BEGIN = 4,
    ES_FRAME_MODEL_DATA = 5,
    ES_FRAME_MODEL_END = 6,
    ES_FRAME_START = 7,
    ES_FRAME_SELF_TEST = 8,
    ES_FRAME_BAUD = 9,
    ES_FRAME_EVENTS = 16,
    ES_FRAME_ADVANCE = 17,
    ES_FRAME_END_SAMPLE = 18,
    ES_FRAME_READ = 19,
    ES_FRAME_CREDIT = 32,
    ES_FRAME_RESULT = 33,
    ES_FRAME_ERROR = 34
} es_frame_type;

typedef struct es_frame {
    uint8_t type;
    uint8_t flags; /* without the version */
    uint8_t major;
    uint16_t sequence;
    uint32_t word;
    const uint8_t *payload; /* in the reader's buffer */
    uint32_t size;
} es_frame;

/* ---- writing ---------------------------------------------------------- */

typedef struct es_frame_writer {
    uint8_t *out;
    size_t used;
    size_t code; /* where the length of the open COBS block goes */
    uint32_t crc;
} es_frame_writer;

/* Begins a frame in `out`, which has ES_FRAME_BOUND(payload) bytes. */
void es_frame_begin(es_frame_writer *writer, uint8_t *out, uint8_t type, uint8_t flags, uint16_t sequence,
                    uint32_t word);

/* Adds a piece of the payload. */
void es_frame_add(es_frame_writer *writer, const void *bytes, size_t count);
void es_frame_add_u8(es_frame_writer *writer, uint8_t value);
void es_frame_add_u16(es_frame_writer *writer, uint16_t value);
void es_frame_add_u32(es_frame_writer *writer, uint32_t value);
void es_frame_add_u64(es_frame_writer *writer, uint64_t value);

/* Ends the frame; returns its encoded size. */
size_t es_frame_end(es_frame_writer *writer);

/* ---- reading ---------------------------------------------------------- */

typedef struct es_frame_reader {
    uint8_t *buffer;
    uint32_t capacity;
    uint32_t used;
    uint8_t block;    /* bytes that the open COBS block still has */
    bool zero_due;    /* a zero stands between the last block and the next */
    bool overflow;    /* the frame is longer than the buffer */
    uint32_t good;    /* frames received */
    uint32_t bad_crc; /* frames dropped, by cause */
    uint32_t malformed;
    uint32_t too_long;
} es_frame_reader;

/* `buffer` of `capacity` bytes holds one decoded frame: payload + ES_FRAME_EXTRA. */
void es_frame_reader_init(es_frame_reader *reader, uint8_t *buffer, uint32_t capacity);

/* Takes bytes up to the end of the first whole frame; *used says how many.
 * Returns true when `frame` is one, valid until the next call. */
bool es_frame_read(es_frame_reader *reader, const uint8_t *bytes, size_t count, size_t *used, es_frame *frame);

/* ---- little-endian numbers at any address ------------------------------ */

static inline uint16_t es_get_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline uint32_t es_get_u32(const uint8_t *bytes)
{
    return es_get_u16(bytes) | (uint32_t)es_get_u16(bytes + 2) << 16;
}

#ifdef __cplusplus
}
#endif

#endif
