/* Feeds the device loop with frames that are almost right, and with bytes that
 * are not frames at all, under the sanitizers. Requires what docs/link.md and
 * docs/security.md promise for any bytes.
 *
 *     fuzz_device FIRST_SEED ROUNDS MODEL...
 */
#include "fuzz_board.h"

/* ---- frames -------------------------------------------------------------- */

static void frame(board *b, uint8_t type, uint16_t sequence, uint32_t word, const uint8_t *payload, size_t size)
{
    uint8_t out[ES_FRAME_BOUND(2 * PAYLOAD)];
    es_frame_writer w;

    es_frame_begin(&w, out, type, below(40) ? 0 : (uint8_t)below(16), sequence, word);
    es_frame_add(&w, payload, size);
    size_t length = es_frame_end(&w);
    if (below(30) == 0)
        out[below((uint32_t)length)] = (uint8_t)below(256);
    if (below(30) == 0)
        length = below((uint32_t)length);
    feed(b, out, length);
}

static uint32_t any_u32(void)
{
    static const uint32_t edges[] = {0, 1, 255, 256, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF};
    return below(4) ? below(300) : edges[below(8)];
}

static void command_frame(board *b)
{
    static const uint8_t types[] = {ES_FRAME_HELLO, ES_FRAME_PING,      ES_FRAME_STATS,    ES_FRAME_MODEL_BEGIN,
                                    ES_FRAME_START, ES_FRAME_MODEL_END, ES_FRAME_CREDIT,   ES_FRAME_MODEL_DATA,
                                    ES_FRAME_BAUD,  ES_FRAME_SELF_TEST};
    uint8_t payload[16];
    const es_device *d = &b->device;
    uint8_t type = below(20) ? types[below(below(3) ? 3 : 10)] : (uint8_t)below(256);

    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = below(3) ? (uint8_t)below(4) : (uint8_t)below(256);
    if (below(2)) {
        put_u32(payload, b->results);
        put_u32(payload + 4, d->stream_number);
    }
    frame(b, type, (uint16_t)below(4), any_u32(), payload, below(4) ? 16 : below(17));
}

static void stream_frame(board *b, uint32_t *tick)
{
    static const uint8_t types[] = {ES_FRAME_EVENTS, ES_FRAME_EVENTS, ES_FRAME_EVENTS,
                                    ES_FRAME_ADVANCE, ES_FRAME_READ,   ES_FRAME_END_SAMPLE};
    static const uint8_t forms[] = {2, 3, 4, 6};
    uint8_t payload[2 * PAYLOAD];
    const es_device *d = &b->device;
    uint8_t type = types[below(6)];
    uint16_t sequence = (uint16_t)(d->sequence + (below(8) ? 0 : below(below(2) ? 4 : 0x10000)));
    size_t size = 12 + below(below(4) ? 30 : 2 * PAYLOAD - 12);

    put_u32(payload, d->next_event + (below(8) ? 0 : any_u32()));
    put_u32(payload + 4, (uint16_t)(d->sample + (below(10) ? 0 : below(3))));
    payload[6] = below(20) ? forms[below(4)] : (uint8_t)below(256);
    payload[7] = payload[6] == 6 ? 16 : (uint8_t)below(below(4) ? 3 : 20);
    put_u32(payload + 8, below(20) ? d->stream_number : any_u32());
    for (size_t i = 12; i < size; i++)
        payload[i] = (uint8_t)below(below(2) ? 8 : 256);
    if (type == ES_FRAME_EVENTS && payload[6] != 0 && below(10))
        size -= (size - 12) % payload[6];
    *tick = below(40) ? d->net.tick + below(40) : any_u32();
    frame(b, type, sequence, *tick, payload, below(30) ? size : below(12));
}

/* Uploads a model, sometimes with a changed byte, a gap, or a wrong size or CRC. */
static void upload(board *b, const uint8_t *model, uint32_t size)
{
    uint8_t *copy = aligned_block(size);
    uint8_t identity[8];

    memcpy(copy, model, size);
    if (below(8) == 0)
        copy[below(size)] = (uint8_t)below(256);
    put_u32(identity, below(20) ? size : any_u32());
    put_u32(identity + 4, below(20) ? es_crc32(0, copy, size) : any_u32());
    frame(b, ES_FRAME_MODEL_BEGIN, 0, 1, identity, 8);
    for (uint32_t at = 0; at < size;) {
        uint32_t piece = 1 + below(PAYLOAD);
        piece = piece < size - at ? piece : size - at;
        frame(b, ES_FRAME_MODEL_DATA, 0, at, copy + at, piece);
        work(b, 10);
        at = b->device.uploading ? b->device.upload_next : at + piece; /* as a host would, after a gap */
        if (below(200) == 0)
            break;
    }
    frame(b, ES_FRAME_MODEL_END, 0, 2, identity, 8);
    work(b, 100);
    free(copy);
}

/* S27: events that are packed come out as they went in, whatever the input's shape. */
static void pack_and_unpack(void)
{
    static const uint32_t sizes[] = {1, 2, 5, 34, 128, 65535};
    static const int16_t values[] = {1, 0, -1, 255, -255, INT16_MAX, INT16_MIN};
    size_t room = 6 + below(100), size, count = 1 + below(60);
    es_words_layout layout = es_words_layout_of(sizes[below(5)], sizes[below(6)], sizes[below(5)]);
    es_event *events = aligned_block(count * sizeof *events), back[64];
    uint8_t *words = aligned_block(room);
    uint32_t tick = any_u32(), most = 1 + below(7);
    es_words_form form;
    es_words_reader reader;

    for (size_t i = 0; i < count; i++) {
        tick += below(4) ? below(3) : any_u32();
        events[i].tick = tick;
        events[i].channel = (uint16_t)below(1u << layout.channel_bits);
        events[i].x = (uint16_t)below(1u << layout.x_bits);
        events[i].y = (uint16_t)below(1u << layout.y_bits);
        events[i].value = values[below(most)];
    }
    size_t packed = es_words_pack(layout, events, count, words, room, &form, &size);
    REQUIRE(packed >= 1 && packed <= count && size <= room);
    REQUIRE(es_words_open(&reader, layout, form, events[0].tick, words, size) == ES_OK);
    REQUIRE(es_words_read(&reader, back, 64) == packed);
    REQUIRE(memcmp(back, events, packed * sizeof *events) == 0);
    free(words);
    free(events);
}

/* The payload of a START that may be right. */
static void start_request(board *b, uint8_t *payload)
{
    const es_device *d = &b->device;

    memset(payload, 0, 16);
    payload[0] = (uint8_t)(1 + below(2));
    payload[1] = (uint8_t)below(2);
    put_u32(payload + 4, 1 + below(1000));
    put_u32(payload + 8, below(8) ? d->stream_number : any_u32());
    put_u32(payload + 12, below(20) ? d->upload_crc : any_u32());
}

static void round_of(const uint8_t *const *models, const uint32_t *sizes, uint32_t count)
{
    board *b = new_board();
    uint32_t tick = 0;
    uint32_t pick = below(count);

    upload(b, models[pick], sizes[pick]);
    for (uint32_t i = below(120); i > 0; i--) {
        uint8_t start[16];
        uint8_t noise[64];

        start_request(b, start);
        switch (below(16)) {
        case 0:
            frame(b, ES_FRAME_START, 0, 3, start, sizeof start);
            work(b, 100);
            break;
        case 1:
            pick = below(count);
            upload(b, models[pick], sizes[pick]);
            break;
        case 2:
            for (size_t k = 0; k < sizeof noise; k++)
                noise[k] = (uint8_t)below(256);
            feed(b, noise, below(sizeof noise));
            for (size_t k = below(8) ? 0 : 2 * RING; k > 0; k -= sizeof noise) /* more than there is room for */
                receive(b, noise, sizeof noise);
            break;
        case 3:
        case 4:
            command_frame(b);
            break;
        default:
            if (b->device.stream == ES_STREAM_NONE || b->device.stream == ES_STREAM_HALTED)
                frame(b, ES_FRAME_START, 0, 3, start, sizeof start);
            work(b, 20);
            stream_frame(b, &tick);
            break;
        }
    }
    must_still_answer(b);
    free_board(b);
}

int main(int argc, char **argv)
{
    static const uint8_t *models[64];
    static uint32_t sizes[64];
    uint32_t count = (uint32_t)argc - 3;

    if (argc < 4 || argc > 64)
        return 2;
    for (uint32_t i = 0; i < count; i++)
        models[i] = read_file(argv[i + 3], &sizes[i]);
    uint32_t first = (uint32_t)strtoul(argv[1], NULL, 10);
    uint32_t rounds = (uint32_t)strtoul(argv[2], NULL, 10);
    for (seed = first; seed < first + rounds; seed++) {
        state = seed * 2654435761u + 1u;
        round_of(models, sizes, count);
        for (int i = 0; i < 20; i++)
            pack_and_unpack();
    }
    printf("%u rounds\n", (unsigned)rounds);
    return 0;
}
