#include "es_frame.h"

#include <string.h>

#include "edgespike.h"

/* ---- writing ---------------------------------------------------------- */

static void open_block(es_frame_writer *writer)
{
    writer->code = writer->used++;
}

/* A block's first byte is its length with itself; 255 means that no zero follows it. */
static void close_block(es_frame_writer *writer)
{
    writer->out[writer->code] = (uint8_t)(writer->used - writer->code);
}

static void put(es_frame_writer *writer, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == 0) {
            close_block(writer);
            open_block(writer);
            continue;
        }
        writer->out[writer->used++] = bytes[i];
        if (writer->used - writer->code == 255) {
            close_block(writer);
            open_block(writer);
        }
    }
}

void es_frame_begin(es_frame_writer *writer, uint8_t *out, uint8_t type, uint8_t flags, uint16_t sequence,
                    uint32_t word)
{
    writer->out = out;
    writer->used = 0;
    writer->crc = 0;
    open_block(writer);
    es_frame_add_u8(writer, type);
    es_frame_add_u8(writer, (uint8_t)(flags | ES_LINK_MAJOR << 6));
    es_frame_add_u16(writer, sequence);
    es_frame_add_u32(writer, word);
}

void es_frame_add(es_frame_writer *writer, const void *bytes, size_t count)
{
    writer->crc = es_crc32(writer->crc, bytes, count);
    put(writer, bytes, count);
}

void es_frame_add_u8(es_frame_writer *writer, uint8_t value)
{
    es_frame_add(writer, &value, 1);
}

void es_frame_add_u16(es_frame_writer *writer, uint16_t value)
{
    uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    es_frame_add(writer, bytes, sizeof bytes);
}

void es_frame_add_u32(es_frame_writer *writer, uint32_t value)
{
    es_frame_add_u16(writer, (uint16_t)value);
    es_frame_add_u16(writer, (uint16_t)(value >> 16));
}

void es_frame_add_u64(es_frame_writer *writer, uint64_t value)
{
    es_frame_add_u32(writer, (uint32_t)value);
    es_frame_add_u32(writer, (uint32_t)(value >> 32));
}

size_t es_frame_end(es_frame_writer *writer)
{
    es_frame_add_u32(writer, writer->crc);
    close_block(writer);
    writer->out[writer->used++] = 0;
    return writer->used;
}

/* ---- reading ---------------------------------------------------------- */

void es_frame_reader_init(es_frame_reader *reader, uint8_t *buffer, uint32_t capacity)
{
    memset(reader, 0, sizeof *reader);
    reader->buffer = buffer;
    reader->capacity = capacity;
}

static void store(es_frame_reader *reader, const uint8_t *bytes, size_t count)
{
    if (count > reader->capacity - reader->used) {
        reader->overflow = true;
        return;
    }
    memcpy(reader->buffer + reader->used, bytes, count);
    reader->used += (uint32_t)count;
}

/* Whether the frame that a zero byte ended is one. Ready for the next either way. */
static bool finish(es_frame_reader *reader, es_frame *frame)
{
    uint32_t size = reader->used;
    bool overflow = reader->overflow;
    bool empty = size == 0 && !reader->zero_due && reader->block == 0;
    bool cut = reader->block != 0;
    const uint8_t *bytes = reader->buffer;

    reader->used = 0;
    reader->block = 0;
    reader->zero_due = false;
    reader->overflow = false;
    if (overflow) {
        reader->too_long++;
        return false;
    }
    if (empty)
        return false;
    if (cut || size < ES_FRAME_EXTRA) {
        reader->malformed++;
        return false;
    }
    if (es_get_u32(bytes + size - 4) != es_crc32(0, bytes, size - 4)) {
        reader->bad_crc++;
        return false;
    }
    reader->good++;
    frame->type = bytes[0];
    frame->flags = bytes[1] & 0x3F;
    frame->major = bytes[1] >> 6;
    frame->sequence = es_get_u16(bytes + 2);
    frame->word = es_get_u32(bytes + 4);
    frame->payload = bytes + ES_FRAME_HEADER;
    frame->size = size - ES_FRAME_EXTRA;
    return true;
}

bool es_frame_read(es_frame_reader *reader, const uint8_t *bytes, size_t count, size_t *used, es_frame *frame)
{
    static const uint8_t zero = 0;
    size_t at = 0;

    while (at < count) {
        if (bytes[at] == 0) {
            *used = at + 1;
            if (finish(reader, frame))
                return true;
            at++;
        } else if (reader->block == 0) {
            if (reader->zero_due)
                store(reader, &zero, 1);
            reader->block = (uint8_t)(bytes[at] - 1);
            reader->zero_due = bytes[at] != 255;
            at++;
        } else {
            size_t run = count - at < reader->block ? count - at : reader->block;
            const uint8_t *end = memchr(bytes + at, 0, run);
            if (end != NULL)
                run = (size_t)(end - (bytes + at));
            store(reader, bytes + at, run);
            reader->block = (uint8_t)(reader->block - run);
            at += run;
        }
    }
    *used = count;
    return false;
}
