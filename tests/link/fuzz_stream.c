/* Mutates the byte streams of whole sessions - a model's upload, events, results -
 * and feeds them to a board, under the sanitizers. Requires what docs/security.md
 * promises; the numbers are those of that page. Frames are changed before they are
 * encoded, so that their checksums are good, and then the bytes.
 *
 *     fuzz_stream SEED COUNT MODEL.esg...
 *
 * With -DLIBFUZZER and -fsanitize=fuzzer libFuzzer's bytes go to a board that has
 * the model named by the environment variable FUZZ_MODEL.
 */
#include "fuzz_board.h"

enum { MOST_FRAMES = 64, STREAM = 1 << 15 };

/* The number of the stream of every session, and the bytes that stream frames begin with. */
enum { STREAM_NUMBER = 7, PREFIX = 12 };

typedef struct one_frame {
    uint8_t type;
    uint8_t flags;
    uint16_t sequence;
    uint32_t word;
    uint32_t size;
    uint8_t payload[PAYLOAD];
} one_frame;

typedef struct session {
    one_frame frames[MOST_FRAMES];
    uint32_t count;
    uint32_t stream; /* the first frame after the upload */
} session;

/* ---- a good session ------------------------------------------------------ */

static one_frame *append(session *s, uint8_t type, uint16_t sequence, uint32_t word)
{
    one_frame *frame = &s->frames[s->count++];

    REQUIRE(s->count <= MOST_FRAMES); /* models of a few KB */
    memset(frame, 0, sizeof *frame);
    frame->type = type;
    frame->sequence = sequence;
    frame->word = word;
    return frame;
}

static void append_upload(session *s, const uint8_t *model, uint32_t size)
{
    one_frame *frame;

    for (uint8_t type = ES_FRAME_MODEL_BEGIN; type <= ES_FRAME_MODEL_END; type++) {
        for (uint32_t at = 0; type == ES_FRAME_MODEL_DATA && at < size; at += frame->size) {
            frame = append(s, type, 0, at);
            frame->size = size - at < PAYLOAD ? size - at : PAYLOAD;
            memcpy(frame->payload, model + at, frame->size);
        }
        if (type == ES_FRAME_MODEL_DATA)
            continue;
        frame = append(s, type, 0, 1);
        frame->size = 8;
        put_u32(frame->payload, size);
        put_u32(frame->payload + 4, es_crc32(0, model, size));
    }
}

static uint16_t append_sample(session *s, const es_model *model, uint16_t sequence, uint16_t sample)
{
    uint32_t shape[3], event = 0;
    es_words_form form = {2, 0};
    one_frame *frame;
    es_event events[6];

    es_input_shape(model, shape);
    es_words_layout layout = es_words_layout_of(shape[0], shape[1], shape[2]);
    for (uint32_t part = 0; part < 3; part++) {
        size_t size;
        for (uint32_t i = 0; i < 6; i++) {
            es_event one = {2 * part + i / 3, (uint16_t)below(shape[1]), (uint16_t)below(shape[0]),
                            (uint16_t)below(shape[2]), 1};
            events[i] = one;
        }
        frame = append(s, ES_FRAME_EVENTS, sequence++, events[0].tick);
        put_u32(frame->payload, 18u * sample + event);
        put_u32(frame->payload + 4, sample);
        put_u32(frame->payload + 8, STREAM_NUMBER);
        event += (uint32_t)es_words_pack(layout, events, 6, frame->payload + PREFIX,
                                         PAYLOAD - PREFIX, &form, &size);
        frame->payload[6] = form.bytes;
        frame->payload[7] = form.value_bits;
        frame->size = PREFIX + (uint32_t)size;
    }
    for (uint32_t i = 0; i < 3; i++) {
        static const uint8_t types[] = {ES_FRAME_ADVANCE, ES_FRAME_READ, ES_FRAME_END_SAMPLE};
        frame = append(s, types[i], sequence++, 9);
        put_u32(frame->payload, 18u * sample + event);
        put_u32(frame->payload + 4, sample);
        put_u32(frame->payload + 8, STREAM_NUMBER);
        frame->size = PREFIX;
    }
    return sequence;
}

static void append_acknowledgement(session *s, uint8_t type)
{
    one_frame *frame = append(s, type, 0, 4);

    put_u32(frame->payload + 4, STREAM_NUMBER);
    frame->size = 8;
}

static void make_session(session *s, const uint8_t *file, uint32_t size, uint8_t mode)
{
    es_model model;
    uint16_t sequence;
    one_frame *frame;

    REQUIRE(es_model_open(&model, file, size) == ES_OK);
    s->count = 0;
    append(s, ES_FRAME_HELLO, 0, 1);
    append_upload(s, file, size);
    s->stream = s->count;
    frame = append(s, ES_FRAME_START, 0, 2);
    frame->payload[0] = mode;
    put_u32(frame->payload + 4, STREAM_NUMBER);
    put_u32(frame->payload + 12, es_crc32(0, file, size));
    frame->size = 16;
    sequence = append_sample(s, &model, 0, 0);
    append_acknowledgement(s, ES_FRAME_CREDIT);
    append(s, ES_FRAME_STATS, 0, 3)->size = 3;
    append_sample(s, &model, sequence, 1);
    append_acknowledgement(s, ES_FRAME_PING);
    append(s, ES_FRAME_SELF_TEST, 0, 5);
}

/* ---- damage -------------------------------------------------------------- */

static void change_number(uint32_t *value)
{
    static const uint32_t edges[] = {0, 1, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};

    switch (below(3)) {
    case 0:
        *value = edges[below(10)];
        break;
    case 1:
        *value += below(5) - 2u;
        break;
    default:
        *value ^= 1u << below(32);
        break;
    }
}

static void change_frame(one_frame *frame)
{
    uint32_t number = frame->sequence;

    switch (below(8)) {
    case 0:
        frame->type = (uint8_t)(below(4) ? 1 + below(34) : below(256));
        break;
    case 1:
        frame->flags = (uint8_t)below(256);
        break;
    case 2:
        change_number(&number);
        frame->sequence = (uint16_t)number;
        break;
    case 3:
        if (below(8)) /* far ticks take long */
            frame->word += below(40) - 9u;
        else
            change_number(&frame->word);
        break;
    case 4:
        frame->size = below(PAYLOAD + 1);
        break;
    case 5:
        if (frame->size >= 4) {
            uint8_t *at = frame->payload + 4 * below(frame->size / 4 < 4 ? frame->size / 4 : 4);
            number = es_get_u32(at);
            change_number(&number);
            put_u32(at, number);
        }
        break;
    default:
        frame->payload[below(frame->size ? frame->size : 1)] = (uint8_t)(below(2) ? below(4) : below(256));
        break;
    }
}

static void mutate(session *s)
{
    uint32_t at = below(5) ? s->stream + below(s->count - s->stream) : below(s->count);
    uint32_t other = s->stream + below(s->count - s->stream);
    one_frame kept = s->frames[at];

    switch (below(8)) {
    case 0: /* lost */
        memmove(&s->frames[at], &s->frames[at + 1], (s->count - at - 1) * sizeof kept);
        s->count--;
        break;
    case 1: /* twice, or late */
        if (s->count < MOST_FRAMES) {
            memmove(&s->frames[other + 1], &s->frames[other], (s->count - other) * sizeof kept);
            s->frames[other] = kept;
            s->count++;
        }
        break;
    case 2: /* in another order */
        s->frames[at] = s->frames[other];
        s->frames[other] = kept;
        break;
    default:
        change_frame(&s->frames[at]);
        break;
    }
}

static uint32_t encode(const session *s, uint8_t *out)
{
    uint32_t size = 0;

    for (uint32_t i = 0; i < s->count; i++) {
        const one_frame *frame = &s->frames[i];
        es_frame_writer w;
        es_frame_begin(&w, out + size, frame->type, frame->flags, frame->sequence, frame->word);
        es_frame_add(&w, frame->payload, frame->size);
        size += (uint32_t)es_frame_end(&w);
    }
    return size;
}

/* Changed, lost and added bytes. */
static uint32_t mutate_bytes(uint8_t *bytes, uint32_t size)
{
    uint32_t at = below(size);
    uint32_t run = 1 + below(below(8) ? 3 : 200);

    run = run < size - at ? run : size - at;
    switch (below(3)) {
    case 0:
        bytes[at] ^= (uint8_t)(1u << below(8));
        return size;
    case 1:
        memmove(bytes + at, bytes + at + run, size - at - run);
        return size - run > 0 ? size - run : 1;
    default:
        if (size + run > STREAM)
            return size;
        memmove(bytes + at + run, bytes + at, size - at);
        return size + run;
    }
}

/* ---- one stream ---------------------------------------------------------- */

static void read_all(es_frame_reader *reader, const uint8_t *bytes, uint32_t size, uint32_t most)
{
    while (size > 0) {
        uint32_t piece = most ? 1 + below(most) : size;
        es_frame frame;
        size_t used;
        es_frame_read(reader, bytes, piece < size ? piece : size, &used, &frame);
        bytes += used;
        size -= (uint32_t)used;
    }
}

/* S26: the same frames, however the bytes arrive. */
static void must_read_alike(const uint8_t *bytes, uint32_t size)
{
    static uint8_t *blocks[2];
    es_frame_reader readers[2];

    for (uint32_t i = 0; i < 2; i++) {
        if (blocks[i] == NULL)
            blocks[i] = aligned_block(PAYLOAD + ES_FRAME_EXTRA);
        es_frame_reader_init(&readers[i], blocks[i], PAYLOAD + ES_FRAME_EXTRA);
        read_all(&readers[i], bytes, size, i * 40);
    }
    REQUIRE(readers[0].good == readers[1].good && readers[0].bad_crc == readers[1].bad_crc);
    REQUIRE(readers[0].malformed == readers[1].malformed && readers[0].too_long == readers[1].too_long);
    REQUIRE(readers[0].used == readers[1].used);
}

/* Starts the board again: memory keeps what it holds. */
static void restart(board *b)
{
    memset(&b->reader, 0, sizeof b->reader);
    es_frame_reader_init(&b->reader, b->sent, sizeof b->sent);
    b->baud = b->config.baud;
    REQUIRE(es_device_init(&b->device, &b->config) == ES_OK);
}

static void send_stream(board *b, const uint8_t *bytes, uint32_t size)
{
    must_read_alike(bytes, size);
    feed(b, bytes, size);
    work(b, 300);
    must_still_answer(b);
}

#ifdef LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static session s;
    static board *b;
    static uint8_t upload[STREAM];

    state = es_crc32(1, data, size) | 1u;
    if (b == NULL) {
        uint32_t model_size;
        uint8_t *model = read_file(getenv("FUZZ_MODEL"), &model_size);
        make_session(&s, model, model_size, ES_STREAM_LIVE);
        free(model);
        s.count = s.stream + 1;
        b = new_board();
    }
    restart(b);
    feed(b, upload, encode(&s, upload));
    send_stream(b, data, (uint32_t)size);
    return 0;
}

#else

static session *sessions_of(const char *path)
{
    static const uint8_t modes[] = {ES_STREAM_LOSSLESS, ES_STREAM_LIVE};
    session *both = aligned_block(2 * sizeof *both);
    uint32_t size;
    uint8_t *model = read_file(path, &size);

    for (int i = 0; i < 2; i++)
        make_session(&both[i], model, size, modes[i]);
    free(model);
    return both;
}

int main(int argc, char **argv)
{
    static session *good[64];
    static uint8_t bytes[STREAM];
    session s;
    uint32_t models = (uint32_t)argc - 3, uploaded = 0, results = 0;

    if (argc < 4 || argc > 64)
        return 2;
    uint32_t first = (uint32_t)strtoul(argv[1], NULL, 10);
    uint32_t count = (uint32_t)strtoul(argv[2], NULL, 10);
    state = 1;
    for (uint32_t i = 0; i < models; i++)
        good[i] = sessions_of(argv[i + 3]);
    board *b = new_board();
    for (seed = first; seed < first + count; seed++) {
        state = seed * 2654435761u | 1u;
        s = good[below(models)][below(2)];
        for (uint32_t changes = below(5); changes > 0; changes--)
            mutate(&s);
        uint32_t size = encode(&s, bytes);
        for (uint32_t changes = below(2) ? 0 : 1 + below(4); changes > 0; changes--)
            size = mutate_bytes(bytes, size);
        restart(b);
        send_stream(b, bytes, size);
        uploaded += b->device.has_model;
        results += b->results;
    }
    free_board(b);
    for (uint32_t i = 0; i < models; i++)
        free(good[i]);
    printf("%u streams, %u with a model\n", (unsigned)count, (unsigned)uploaded);
    return results == 0; /* or nothing was tested */
}

#endif
