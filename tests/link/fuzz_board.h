/* A board for the harnesses of this folder, and what docs/security.md promises of it,
 * by the numbers of that page. Its buffers are blocks of their own, so that the address
 * sanitizer sees their ends (S20). */
#ifndef FUZZ_BOARD_H
#define FUZZ_BOARD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "es_device.h"

#define RING 4096u
#define PAYLOAD 256u

/* Request numbers of the last commands of a round; no other frame has them. */
#define LAST_HELLO 0xABCD0001u
#define LAST_START 0xABCD0002u

#define REQUIRE(condition)                                                          \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "seed %u: not so: %s\n", (unsigned)seed, #condition);   \
            abort();                                                                \
        }                                                                           \
    } while (0)

static uint32_t seed;
static uint32_t state;

static uint32_t below(uint32_t limit)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % limit;
}

/* ---- a board, each buffer a block of its own so that the sanitizer sees its end ---- */

typedef struct board {
    es_device device;
    es_device_config config;
    es_frame_reader reader; /* of what it sends */
    uint8_t sent[ES_PAYLOAD_MAX + ES_FRAME_EXTRA];
    uint32_t hellos;
    uint32_t starts;
    uint16_t sequence; /* what it expects next, as it last said */
    uint32_t next_event;
    uint32_t results;
    uint32_t now;
    uint32_t baud; /* of its line */
} board;

static void *aligned_block(size_t size)
{
    void *block = NULL;
    if (posix_memalign(&block, ES_ALIGNMENT, size ? size : 1))
        abort();
    memset(block, 0xA5, size);
    return block;
}

/* S22: all that a board sends are whole frames. */
static void sends(void *context, const uint8_t *bytes, size_t count)
{
    board *b = context;
    es_frame frame;
    size_t used;

    while (count > 0) {
        bool whole = es_frame_read(&b->reader, bytes, count, &used, &frame);
        bytes += used;
        count -= used;
        if (!whole)
            continue;
        REQUIRE(frame.major == ES_LINK_MAJOR && frame.size <= PAYLOAD); /* S22 */
        bool response = (frame.flags & ES_LINK_RESPONSE) != 0;
        b->hellos += response && frame.type == ES_FRAME_HELLO && frame.word == LAST_HELLO;
        b->starts += response && frame.type == ES_FRAME_START && frame.word == LAST_START;
        if (frame.type == ES_FRAME_CREDIT || frame.type == ES_FRAME_PING) {
            b->sequence = frame.sequence;
            b->next_event = es_get_u32(frame.payload + 8);
            b->results = es_get_u32(frame.payload + 20);
        }
    }
    REQUIRE(b->reader.bad_crc + b->reader.malformed + b->reader.too_long == 0);
}

/* Time passes with every look at the clock. */
static uint32_t clock_us(void *context)
{
    board *b = context;
    return b->now += 5000;
}

/* Can do any baud that is even. */
static bool set_baud(void *context, uint32_t baud, bool now)
{
    board *b = context;

    if (baud % 2 != 0)
        return false;
    if (now)
        b->baud = baud;
    return true;
}

static board *new_board(void)
{
    board *b = calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    b->config.model_capacity = 1u << 16;
    b->config.model = aligned_block(b->config.model_capacity);
    b->config.arena_capacity = below(3) ? 1u << 17 : below(1u << 12);
    b->config.arena = aligned_block(b->config.arena_capacity);
    b->config.ring_size = RING;
    b->config.ring = aligned_block(RING);
    b->config.frames = aligned_block(ES_DEVICE_FRAME_BYTES(PAYLOAD));
    b->config.max_payload = PAYLOAD;
    b->config.name = "fuzz";
    b->config.boot_epoch = 1;
    b->config.write = sends;
    b->config.clock_us = clock_us;
    b->config.set_baud = set_baud;
    b->config.baud = b->baud = 9600;
    b->config.context = b;
    es_frame_reader_init(&b->reader, b->sent, sizeof b->sent);
    REQUIRE(es_device_init(&b->device, &b->config) == ES_OK);
    return b;
}

static void free_board(board *b)
{
    free(b->config.model);
    free(b->config.arena);
    free(b->config.ring);
    free(b->config.frames);
    free(b);
}

static void work(board *b, uint32_t most)
{
    while (most > 0 && es_device_poll(&b->device)) {
        const es_device *d = &b->device;
        REQUIRE(es_device_room(d) <= RING); /* S21 */
        REQUIRE(d->baud == b->baud);
        REQUIRE(d->chunk_used <= d->chunk_count && d->chunk_count <= ES_DEVICE_CHUNK);
        /* S24 */
        REQUIRE(d->stream != ES_STREAM_LOSSLESS || d->result_next - d->result_acknowledged <= d->result_slots);
        REQUIRE(!d->busy || d->stream == ES_STREAM_LOSSLESS || d->stream == ES_STREAM_LIVE);
        REQUIRE(d->has_model || d->stream == ES_STREAM_NONE); /* S25 */
        most--;
    }
}

/* S21: the ring takes what it has room for, and counts the rest. */
static void receive(board *b, const uint8_t *bytes, size_t count)
{
    uint32_t room = es_device_room(&b->device), received = b->device.received, dropped = b->device.dropped;
    uint32_t taken = count < room ? (uint32_t)count : room;

    es_device_receive(&b->device, bytes, count);
    REQUIRE(b->device.received - received == taken && b->device.dropped - dropped == count - taken);
}

/* S25: what runs is the model that was uploaded and checked. */
static void model_must_be_whole(const board *b)
{
    const es_device *d = &b->device;

    REQUIRE(!d->has_model || es_crc32(0, b->config.model, d->upload_size) == d->upload_crc);
}

/* In pieces of any size, with the board working in between now and then. */
static void feed(board *b, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        size_t piece = 1 + below(64);
        piece = piece < count ? piece : count;
        receive(b, bytes, piece);
        bytes += piece;
        count -= piece;
        if (below(2))
            work(b, 8);
    }
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

/* S23: HELLO and START are understood, whatever came before. */
static void must_still_answer(board *b)
{
    uint8_t out[2 * ES_FRAME_BOUND(16) + 1] = {0};
    uint8_t payload[16] = {1, 0, 0, 0, 1};
    es_frame_writer w;
    size_t size = 1;

    es_frame_begin(&w, out + size, ES_FRAME_HELLO, 0, 0, LAST_HELLO);
    es_frame_add(&w, payload, sizeof payload);
    size += es_frame_end(&w);
    es_frame_begin(&w, out + size, ES_FRAME_START, 0, 0, LAST_START);
    es_frame_add(&w, payload, sizeof payload);
    size += es_frame_end(&w);
    uint32_t hellos = b->hellos, starts = b->starts;
    while (es_device_room(&b->device) < size)
        work(b, 100);
    receive(b, out, size);
    for (uint32_t polls = 0; polls < 20000 && b->starts == starts; polls += 10)
        work(b, 10);
    REQUIRE(b->hellos == hellos + 1 && b->starts == starts + 1);
    model_must_be_whole(b);
}

static uint8_t *read_file(const char *path, uint32_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        abort();
    *size = (uint32_t)ftell(file);
    uint8_t *bytes = aligned_block(*size);
    rewind(file);
    if (fread(bytes, 1, *size, file) != *size)
        abort();
    fclose(file);
    return bytes;
}

#endif
