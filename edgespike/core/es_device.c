#include "es_device.h"

#include <string.h>

#define NAME_BYTES 32
#define MOST_RESULTS 16
#define MOST_TICKS 1024 /* silent ticks closed in one piece of work */
/* When one event or step of time takes longer, commands are read meanwhile. */
#define LONG_US 1000000u
#define LONG_PIECES 65536u /* without a clock */
#define PREFIX 12       /* bytes that all stream frames begin with */
#define RESULT_PREFIX 64
#define STATS_PREFIX 92
#define ABILITY_CLOCK 1u
#define ABILITY_BAUD 2u
#define BAUD_TRIAL_US 1000000u /* within which a frame must come with a new baud */

enum { REASON_WINDOW, REASON_END, REASON_READ };

/* A result kept until it is acknowledged; its scores follow. */
typedef struct result {
    uint64_t events;
    uint64_t synops;
    uint32_t number;
    uint32_t tick;
    uint32_t window;
    uint32_t next_event;
    uint32_t input_events;
    uint32_t lost;
    uint32_t rejected;
    uint32_t compute_us;
    uint32_t best;
    uint16_t sequence;
    uint16_t sample;
    uint8_t reason;
    bool early;
} result;

/* ---- bytes in and out -------------------------------------------------- */

static bool is_aligned(const void *address)
{
    return (uintptr_t)address % ES_ALIGNMENT == 0;
}

int es_device_init(es_device *device, const es_device_config *config)
{
    uint32_t frame_bytes = config->max_payload + (uint32_t)ES_FRAME_EXTRA;

    if (config->max_payload < ES_PAYLOAD_MIN || config->max_payload > ES_PAYLOAD_MAX)
        return ES_ERR_ARGUMENT;
    if (config->ring_size < ES_DEVICE_RESERVE + ES_FRAME_BOUND((uint32_t)config->max_payload) ||
        (config->ring_size & (config->ring_size - 1u)) != 0)
        return ES_ERR_ARGUMENT;
    if (!is_aligned(config->model) || !is_aligned(config->arena))
        return ES_ERR_ALIGN;
    memset(device, 0, sizeof *device);
    device->config = *config;
    device->baud = config->baud;
    es_frame_reader_init(&device->reader, config->frames, frame_bytes);
    device->spare_frame = config->frames + frame_bytes;
    device->send_frame = config->frames + 2 * frame_bytes;
    return ES_OK;
}

/* The bytes are written as volatile so that they are there before `received` says so. */
void es_device_receive(es_device *device, const uint8_t *bytes, size_t count)
{
    volatile uint8_t *ring = device->config.ring;
    uint32_t mask = device->config.ring_size - 1u;
    uint32_t room = es_device_room(device);
    uint32_t received = device->received;

    if (count > room) {
        device->dropped += (uint32_t)(count - room);
        count = room;
    }
    for (size_t i = 0; i < count; i++)
        ring[received++ & mask] = bytes[i];
    device->received = received;
}

uint32_t es_device_room(const es_device *device)
{
    return device->config.ring_size - (device->received - device->taken);
}

static void begin(es_device *device, es_frame_writer *writer, uint8_t type, uint8_t flags, uint16_t sequence,
                  uint32_t word)
{
    es_frame_begin(writer, device->send_frame, type, flags, sequence, word);
}

static void send(es_device *device, es_frame_writer *writer)
{
    size_t size = es_frame_end(writer);
    device->config.write(device->config.context, device->send_frame, size);
}

static void send_error(es_device *device, int32_t code, uint8_t type, uint16_t sequence, uint32_t word,
                       uint32_t stream)
{
    es_frame_writer w;
    begin(device, &w, ES_FRAME_ERROR, 0, sequence, word);
    es_frame_add_u32(&w, (uint32_t)code);
    es_frame_add_u32(&w, type);
    es_frame_add_u32(&w, device->config.boot_epoch);
    es_frame_add_u32(&w, stream);
    send(device, &w);
}

/* The number of the stream that a stream frame is of; 0 for others. */
static uint32_t stream_of(const es_frame *frame)
{
    return frame->type >= ES_FRAME_EVENTS && frame->size >= PREFIX ? es_get_u32(frame->payload + 8) : 0;
}

static void refuse(es_device *device, const es_frame *frame, int32_t code)
{
    send_error(device, code, frame->type, frame->sequence, frame->word, stream_of(frame));
}

static void answer_numbers(es_device *device, const es_frame *frame, int32_t status, uint32_t first, uint32_t second,
                           uint32_t third)
{
    es_frame_writer w;
    begin(device, &w, frame->type, ES_LINK_RESPONSE, 0, frame->word);
    es_frame_add_u32(&w, (uint32_t)status);
    es_frame_add_u32(&w, first);
    es_frame_add_u32(&w, second);
    es_frame_add_u32(&w, third);
    send(device, &w);
}

static uint32_t now_us(const es_device *device)
{
    return device->config.clock_us ? device->config.clock_us(device->config.context) : 0;
}

static void count_compute(es_device *device, uint32_t since)
{
    uint32_t elapsed = now_us(device) - since;
    device->compute_us += elapsed;
    device->window.compute_us += elapsed;
}

/* ---- HELLO and STATS --------------------------------------------------- */

static void add_model_facts(es_device *device, es_frame_writer *w)
{
    uint32_t shape[3];

    es_input_shape(&device->model, shape);
    es_frame_add_u32(w, device->upload_size);
    es_frame_add_u32(w, device->upload_crc);
    es_frame_add(w, es_model_source_hash(&device->model), 32);
    es_frame_add_u32(w, device->arena_used);
    es_frame_add_u16(w, device->plan);
    for (size_t i = 0; i < 3; i++)
        es_frame_add_u16(w, (uint16_t)shape[i]);
    es_frame_add_u32(w, es_tick_us(&device->model));
    es_frame_add_u32(w, es_window_ticks(&device->model));
    es_frame_add_u32(w, es_output_size(&device->model));
}

static bool can_change_baud(const es_device_config *config)
{
    return config->set_baud != NULL && config->clock_us != NULL;
}

static void send_hello(es_device *device, uint32_t request)
{
    static const uint8_t no_model[64] = {0};
    const es_device_config *config = &device->config;
    es_frame_writer w;
    uint8_t name_bytes = 0;

    while (name_bytes < NAME_BYTES && config->name[name_bytes] != 0)
        name_bytes++;
    begin(device, &w, ES_FRAME_HELLO, ES_LINK_RESPONSE, 0, request);
    es_frame_add_u8(&w, ES_LINK_MAJOR);
    es_frame_add_u8(&w, ES_LINK_MINOR);
    es_frame_add_u8(&w, ES_FORMAT_MAJOR);
    es_frame_add_u8(&w, ES_FORMAT_MINOR);
    es_frame_add_u8(&w, ES_VERSION_MAJOR);
    es_frame_add_u8(&w, ES_VERSION_MINOR);
    es_frame_add_u8(&w, ES_VERSION_PATCH);
    es_frame_add_u8(&w, name_bytes);
    es_frame_add_u32(&w, config->boot_epoch);
    es_frame_add_u32(&w, (config->clock_us ? ABILITY_CLOCK : 0) | (can_change_baud(config) ? ABILITY_BAUD : 0));
    es_frame_add_u16(&w, config->max_payload);
    es_frame_add_u16(&w, device->has_model ? (uint16_t)device->result_slots : 0);
    es_frame_add_u32(&w, config->ring_size - ES_DEVICE_RESERVE);
    es_frame_add_u32(&w, config->model_capacity);
    es_frame_add_u32(&w, config->arena_capacity);
    if (device->has_model)
        add_model_facts(device, &w);
    else
        es_frame_add(&w, no_model, sizeof no_model);
    es_frame_add(&w, config->name, name_bytes);
    send(device, &w);
}

static void clear_stats(es_device *device)
{
    es_frame_reader *reader = &device->reader;

    if (device->has_model) {
        es_net_clear_stats(&device->net);
        device->window.before = device->net.stats;
    }
    device->compute_us = 0;
    device->dropped = 0;
    memset(device->rejected_by_cause, 0, sizeof device->rejected_by_cause);
    reader->good = reader->bad_crc = reader->malformed = reader->too_long = 0;
}

static void add_population_stats(es_device *device, es_frame_writer *w, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        uint64_t events, synops;
        es_net_population_stats(&device->net, i, &events, &synops);
        es_frame_add_u64(w, events);
        es_frame_add_u64(w, synops);
    }
}

static void answer_stats(es_device *device, const es_frame *frame)
{
    const es_frame_reader *reader = &device->reader;
    uint32_t first = es_get_u16(frame->payload);
    uint32_t total = device->has_model ? device->model.population_count : 0;
    uint32_t most = (device->config.max_payload - STATS_PREFIX) / 16u;
    uint32_t count = first >= total ? 0 : total - first < most ? total - first : most;
    uint8_t more = first + count < total ? ES_LINK_MORE : 0;
    es_frame_writer w;

    if (frame->payload[2] == 1)
        clear_stats(device);
    es_stats stats = {0};
    if (device->has_model)
        stats = device->net.stats;
    begin(device, &w, ES_FRAME_STATS, ES_LINK_RESPONSE | more, 0, frame->word);
    es_frame_add_u64(&w, stats.input_events);
    es_frame_add_u64(&w, stats.events);
    es_frame_add_u64(&w, stats.synops);
    es_frame_add_u64(&w, stats.ticks);
    es_frame_add_u64(&w, stats.windows);
    es_frame_add_u64(&w, device->compute_us);
    es_frame_add_u32(&w, reader->good);
    es_frame_add_u32(&w, reader->bad_crc);
    es_frame_add_u32(&w, reader->malformed);
    es_frame_add_u32(&w, reader->too_long);
    es_frame_add_u32(&w, device->dropped);
    for (size_t i = 0; i < 4; i++)
        es_frame_add_u32(&w, device->rejected_by_cause[i]);
    es_frame_add_u16(&w, (uint16_t)total);
    es_frame_add_u16(&w, (uint16_t)first);
    es_frame_add_u16(&w, (uint16_t)count);
    es_frame_add_u16(&w, 0);
    add_population_stats(device, &w, first, count);
    send(device, &w);
}

/* ---- uploading a model -------------------------------------------------- */

static void let_model_go(es_device *device)
{
    device->has_model = false;
    device->stream = ES_STREAM_NONE;
    device->stream_number = 0;
    device->busy = false;
    device->result_slots = 0;
    device->result_next = 0;
    device->result_acknowledged = 0;
}

static void model_begin(es_device *device, const es_frame *frame)
{
    uint32_t size = es_get_u32(frame->payload);
    uint32_t crc = es_get_u32(frame->payload + 4);
    bool same = size == device->upload_size && crc == device->upload_crc;

    if (same && device->has_model) {
        answer_numbers(device, frame, ES_OK, size, 0, 0);
        return;
    }
    if (size > device->config.model_capacity) {
        answer_numbers(device, frame, ES_ERR_MODEL_SIZE, 0, size, device->config.model_capacity);
        return;
    }
    if (!same || !device->uploading) {
        let_model_go(device);
        device->uploading = true;
        device->upload_size = size;
        device->upload_crc = crc;
        device->upload_next = 0;
        device->upload_running_crc = 0;
    }
    device->upload_gap_told = false;
    answer_numbers(device, frame, ES_OK, device->upload_next, 0, 0);
}

static void model_data(es_device *device, const es_frame *frame)
{
    uint32_t offset = frame->word;
    uint32_t next = device->upload_next;
    uint8_t flags = ES_LINK_RESPONSE;
    es_frame_writer w;

    if (!device->uploading || offset > device->upload_size || frame->size > device->upload_size - offset) {
        refuse(device, frame, ES_ERR_UPLOAD);
        return;
    }
    if (offset > next) {
        if (device->upload_gap_told)
            return;
        device->upload_gap_told = true;
        flags |= ES_LINK_GAP;
    } else if (offset + frame->size > next) {
        const uint8_t *bytes = frame->payload + (next - offset);
        uint32_t count = offset + frame->size - next;
        memcpy(device->config.model + next, bytes, count);
        device->upload_running_crc = es_crc32(device->upload_running_crc, bytes, count);
        device->upload_next = next + count;
        device->upload_gap_told = false;
    }
    begin(device, &w, ES_FRAME_MODEL_DATA, flags, 0, device->upload_next);
    send(device, &w);
}

static uint32_t round_up(uint32_t size)
{
    return (size + (ES_ALIGNMENT - 1u)) & ~(ES_ALIGNMENT - 1u);
}

/* Lays out the arena and the results after it; the streaming plan if that fits. */
static int lay_out(es_device *device)
{
    uint32_t capacity = device->config.arena_capacity;
    uint32_t result_bytes = round_up((uint32_t)sizeof(result) + 4u * es_output_size(&device->model));
    es_plan plan = ES_PLAN_STREAMING;
    uint32_t size;

    int status = es_arena_size(&device->model, plan, &size);
    device->upload_needed = size + result_bytes;
    if (status == ES_OK && (size > capacity || result_bytes > capacity - size)) {
        plan = ES_PLAN_ONE_SHOT;
        status = es_arena_size(&device->model, plan, &size);
        if (status != ES_OK || size > capacity || result_bytes > capacity - size)
            return ES_ERR_ARENA;
        device->upload_needed = size + result_bytes;
    }
    if (status == ES_OK)
        status = es_net_init(&device->net, &device->model, plan, device->config.arena, size);
    uint32_t slots = status == ES_OK ? (capacity - size) / result_bytes : 0;
    device->plan = (uint8_t)plan;
    device->arena_used = size;
    device->results = device->config.arena + size;
    device->result_bytes = result_bytes;
    device->result_slots = slots < MOST_RESULTS ? slots : MOST_RESULTS;
    return status;
}

/* Checks the uploaded model and makes it the one in use. */
static int use_model(es_device *device)
{
    int status = es_model_open(&device->model, device->config.model, device->upload_size);
    if (status == ES_OK)
        status = lay_out(device);
    if (status == ES_OK && device->model.test_size != 0) {
        int32_t *scores = (int32_t *)(void *)(device->results + sizeof(result));
        status = es_net_self_test(&device->net, scores, es_output_size(&device->model));
    }
    if (status != ES_OK)
        return status;
    uint32_t shape[3];
    es_net_clear_stats(&device->net);
    es_input_shape(&device->model, shape);
    device->layout = es_words_layout_of(shape[0], shape[1], shape[2]);
    device->has_model = true;
    return ES_OK;
}

static void model_end(es_device *device, const es_frame *frame)
{
    bool same = es_get_u32(frame->payload) == device->upload_size &&
                es_get_u32(frame->payload + 4) == device->upload_crc;

    if (!same || (device->uploading && device->upload_next < device->upload_size)) {
        answer_numbers(device, frame, ES_ERR_UPLOAD, same ? device->upload_next : 0, 0, 0);
        return;
    }
    if (device->uploading) {
        device->uploading = false;
        device->upload_needed = 0;
        device->upload_status = ES_ERR_UPLOAD;
        if (device->upload_running_crc == device->upload_crc)
            device->upload_status = use_model(device);
    }
    answer_numbers(device, frame, device->upload_status, device->upload_size, device->upload_needed,
                  device->config.arena_capacity);
}

/* Checks the model once more and runs its self-test; the stream ends. Digest expected, and given. */
static int test_model(es_device *device, uint32_t *events, uint32_t digests[2])
{
    const es_model *model = &device->model;
    int status;

    if (!device->has_model)
        return ES_ERR_NO_MODEL;
    let_model_go(device);
    status = use_model(device);
    if ((status == ES_OK || status == ES_ERR_DIGEST) && model->test_size != 0) {
        *events = es_get_u32(model->test);
        digests[0] = es_get_u32(model->test + 8);
        digests[1] = es_crc32(0, device->results + sizeof(result), 4u * (size_t)es_output_size(model));
    }
    return status;
}

/* Once for each request number, for a test takes long. */
static void self_test(es_device *device, const es_frame *frame)
{
    if (device->tested != frame->word) {
        device->tested = frame->word;
        device->test_events = device->test_digests[0] = device->test_digests[1] = 0;
        device->test_status = test_model(device, &device->test_events, device->test_digests);
    }
    answer_numbers(device, frame, device->test_status, device->test_events, device->test_digests[0],
                   device->test_digests[1]);
}

/* ---- baud ---------------------------------------------------------------- */

/* The answer still goes out with the old baud. */
static void change_baud(es_device *device, const es_frame *frame)
{
    const es_device_config *config = &device->config;
    uint32_t baud = es_get_u32(frame->payload);
    bool same = baud == device->baud;
    bool can = can_change_baud(config) && !same && baud != 0 && config->set_baud(config->context, baud, false);

    answer_numbers(device, frame, same || can ? ES_OK : ES_ERR_ARGUMENT, device->baud, 0, 0);
    if (!can)
        return;
    config->set_baud(config->context, baud, true);
    device->former_baud = device->baud;
    device->baud = baud;
    device->baud_since = now_us(device);
    device->baud_from = device->received;
}

/* When no frame comes with a new baud, the former comes back. */
static void try_baud(es_device *device)
{
    if (device->former_baud == 0 || now_us(device) - device->baud_since <= BAUD_TRIAL_US)
        return;
    device->baud = device->former_baud;
    device->former_baud = 0;
    device->config.set_baud(device->config.context, device->baud, true);
}

/* ---- credits and results ------------------------------------------------ */

/* The first stream frame that is neither handled nor given up. */
static uint16_t next_sequence(const es_device *device)
{
    return (uint16_t)(device->sequence - (device->busy ? 1 : 0));
}

static void send_credit(es_device *device, uint8_t type, uint8_t flags, uint32_t word)
{
    es_frame_writer w;
    begin(device, &w, type, flags, next_sequence(device), word);
    es_frame_add_u32(&w, device->config.boot_epoch);
    es_frame_add_u32(&w, device->stream);
    es_frame_add_u32(&w, device->next_event);
    es_frame_add_u32(&w, device->lost);
    es_frame_add_u32(&w, device->rejected);
    es_frame_add_u32(&w, device->result_next);
    es_frame_add_u32(&w, device->stream_number);
    send(device, &w);
    device->credited = device->taken;
    device->credited_at = now_us(device);
}

static result *result_of(es_device *device, uint32_t number)
{
    return (result *)(void *)(device->results + (size_t)(number % device->result_slots) * device->result_bytes);
}

static void send_result_part(es_device *device, const result *r, uint32_t first, uint32_t count, uint32_t total)
{
    const int32_t *scores = (const int32_t *)(const void *)(r + 1);
    uint8_t more = first + count < total ? ES_LINK_MORE : 0;
    es_frame_writer w;

    begin(device, &w, ES_FRAME_RESULT, more, r->sequence, r->tick);
    es_frame_add_u32(&w, r->number);
    es_frame_add_u16(&w, r->sample);
    es_frame_add_u8(&w, r->reason);
    es_frame_add_u8(&w, r->early);
    es_frame_add_u32(&w, r->window);
    es_frame_add_u32(&w, r->next_event);
    es_frame_add_u32(&w, r->input_events);
    es_frame_add_u32(&w, r->lost);
    es_frame_add_u32(&w, r->rejected);
    es_frame_add_u32(&w, r->compute_us);
    es_frame_add_u64(&w, r->events);
    es_frame_add_u64(&w, r->synops);
    es_frame_add_u32(&w, r->best);
    es_frame_add_u32(&w, total);
    es_frame_add_u32(&w, first);
    es_frame_add_u32(&w, device->stream_number);
    for (uint32_t i = first; i < first + count; i++)
        es_frame_add_u32(&w, (uint32_t)scores[i]);
    send(device, &w);
}

static void send_result(es_device *device, const result *r)
{
    uint32_t total = es_output_size(&device->model);
    uint32_t most = (device->config.max_payload - RESULT_PREFIX) / 4u;

    for (uint32_t first = 0; first < total; first += most)
        send_result_part(device, r, first, total - first < most ? total - first : most, total);
}

static uint32_t index_of_greatest(const int32_t *scores, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (scores[i] > scores[best])
            best = i;
    return best;
}

/* Makes, keeps and sends the result of the open window. There is room for it. */
static int make_result(es_device *device, uint8_t reason)
{
    const es_device_window *window = &device->window;
    const es_stats *stats = &device->net.stats;
    result *r = result_of(device, device->result_next);
    int32_t *scores = (int32_t *)(void *)(r + 1);
    uint32_t count = es_output_size(&device->model);
    int status = es_net_output(&device->net, scores, count);

    if (status != ES_OK)
        return status;
    r->events = stats->events - window->before.events;
    r->synops = stats->synops - window->before.synops;
    r->number = device->result_next++;
    r->early = device->net.decided != 0;
    r->tick = r->early ? device->net.window_start + device->net.decided : device->net.tick;
    r->window = window->number;
    r->next_event = device->next_event;
    r->input_events = (uint32_t)(stats->input_events - window->before.input_events);
    r->lost = window->lost;
    r->rejected = window->rejected;
    r->compute_us = window->compute_us;
    r->best = index_of_greatest(scores, count);
    r->sequence = device->frame.sequence;
    r->sample = device->sample;
    r->reason = reason;
    send_result(device, r);
    return ES_OK;
}

static uint32_t results_kept(const es_device *device)
{
    uint32_t open = device->result_next - device->result_acknowledged;
    return open < device->result_slots ? open : device->result_slots;
}

static void begin_window(es_device *device, uint32_t number)
{
    memset(&device->window, 0, sizeof device->window);
    device->window.number = number;
    device->window.before = device->net.stats;
}

static void window_closed(es_device *device)
{
    make_result(device, REASON_WINDOW);
    begin_window(device, device->window.number + 1);
}

static void end_sample(es_device *device)
{
    uint32_t since = now_us(device);
    es_net_finish(&device->net);
    count_compute(device, since);
    make_result(device, REASON_END);
    es_net_reset(&device->net);
    device->sample++;
    begin_window(device, 0);
}

/* The host has all results of its stream before the wanted one. False: that is not the stream here. */
static bool acknowledge(es_device *device, const es_frame *frame)
{
    uint32_t wanted = es_get_u32(frame->payload);

    if (es_get_u32(frame->payload + 4) != device->stream_number)
        return false;
    if (wanted - device->result_acknowledged <= device->result_next - device->result_acknowledged)
        device->result_acknowledged = wanted;
    return true;
}

static void answer_ping(es_device *device, const es_frame *frame)
{
    bool ours = acknowledge(device, frame);

    for (uint32_t kept = ours ? results_kept(device) : 0; kept > 0; kept--)
        send_result(device, result_of(device, device->result_next - kept));
    if (ours && device->stream == ES_STREAM_HALTED)
        send_error(device, device->halt_code, device->halt_type, next_sequence(device), device->halt_word,
                   device->stream_number);
    send_credit(device, ES_FRAME_PING, ES_LINK_RESPONSE, frame->word);
}

/* ---- the stream ---------------------------------------------------------- */

static int32_t start_stream(es_device *device, const uint8_t *request)
{
    uint8_t mode = request[0];
    bool keep = request[1] != 0;
    uint32_t number = es_get_u32(request + 4);

    if (!device->has_model || es_get_u32(request + 12) != device->upload_crc)
        return ES_ERR_NO_MODEL;
    if ((mode != ES_STREAM_LOSSLESS && mode != ES_STREAM_LIVE) || number == 0)
        return ES_ERR_ARGUMENT;
    if (number == device->stream_number)
        return ES_OK; /* said again */
    if (keep && es_get_u32(request + 8) != device->stream_number)
        return ES_ERR_COMMAND;
    device->stream = mode;
    device->stream_number = number;
    device->busy = false;
    device->gap_told = false;
    device->sequence = 0;
    device->next_event = 0;
    device->lost = 0;
    device->rejected = 0;
    device->result_next = 0;
    device->result_acknowledged = 0;
    if (!keep) {
        es_net_reset(&device->net);
        device->sample = 0;
        begin_window(device, 0);
    }
    return ES_OK;
}

static void start(es_device *device, const es_frame *frame)
{
    int32_t status = start_stream(device, frame->payload);
    es_frame_writer w;

    begin(device, &w, ES_FRAME_START, ES_LINK_RESPONSE, 0, frame->word);
    es_frame_add_u32(&w, (uint32_t)status);
    es_frame_add_u32(&w, device->config.boot_epoch);
    send(device, &w);
}

/* Nothing of the stream is handled any more until START. */
static void halt(es_device *device, int32_t code, uint8_t type, uint16_t sequence, uint32_t word)
{
    device->stream = ES_STREAM_HALTED;
    device->busy = false;
    device->sequence = sequence;
    device->halt_code = code;
    device->halt_type = type;
    device->halt_word = word;
    send_error(device, code, type, sequence, word, device->stream_number);
}

static void frame_done(es_device *device)
{
    uint32_t window = device->config.ring_size - ES_DEVICE_RESERVE;
    device->busy = false;
    if (device->taken - device->credited >= window / 4u)
        send_credit(device, ES_FRAME_CREDIT, 0, 0);
}

/* Whether a stream frame makes sense, and is the one to handle next. Counts what is missing before it. */
static int admit_lossless(es_device *device, const es_frame *frame)
{
    uint32_t number = es_get_u32(frame->payload);
    uint16_t sample = es_get_u16(frame->payload + 4);
    return number == device->next_event && sample == device->sample ? ES_OK : ES_ERR_FRAME;
}

static int admit_live(es_device *device, const es_frame *frame)
{
    uint32_t lost = es_get_u32(frame->payload) - device->next_event;
    uint16_t newer = (uint16_t)(es_get_u16(frame->payload + 4) - device->sample);

    if (lost > INT32_MAX || newer > INT16_MAX)
        return ES_ERR_FRAME;
    device->lost += lost;
    device->window.lost += lost;
    device->next_event += lost;
    return ES_OK;
}

static int admit(es_device *device, const es_frame *frame)
{
    int status = ES_ERR_FRAME;

    if (frame->type == ES_FRAME_EVENTS && frame->size >= PREFIX) {
        es_words_form form = {frame->payload[6], frame->payload[7]};
        status = es_words_open(&device->words, device->layout, form, frame->word, frame->payload + PREFIX,
                               frame->size - PREFIX);
    } else if (frame->size >= PREFIX) {
        status = ES_OK;
    }
    if (status != ES_OK)
        return status;
    return device->stream == ES_STREAM_LIVE ? admit_live(device, frame) : admit_lossless(device, frame);
}

/* The stream frame in hand is one event further. */
static void moved_on(es_device *device)
{
    device->pieces = 0;
    device->busy_since = now_us(device);
}

/* Takes a stream frame: it is handled piece by piece, while the reader has the other buffer. */
static void hold(es_device *device, const es_frame *frame)
{
    uint8_t *buffer = device->reader.buffer;
    device->reader.buffer = device->spare_frame;
    device->spare_frame = buffer;
    device->frame = *frame;
    device->chunk_count = 0;
    device->chunk_used = 0;
    device->busy = true;
    moved_on(device);
    device->credited_at = device->busy_since;
}

static void stream_frame(es_device *device, const es_frame *frame)
{
    uint16_t ahead = (uint16_t)(frame->sequence - device->sequence);

    if (device->stream == ES_STREAM_NONE || (frame->size >= PREFIX && stream_of(frame) != device->stream_number)) {
        refuse(device, frame, ES_ERR_COMMAND);
        return;
    }
    if (device->stream == ES_STREAM_HALTED || ahead > INT16_MAX)
        return;
    if (device->busy || (device->stream == ES_STREAM_LOSSLESS && ahead != 0)) {
        if (device->stream == ES_STREAM_LOSSLESS && !device->gap_told)
            send_credit(device, ES_FRAME_CREDIT, ES_LINK_GAP, 0);
        device->gap_told = true;
        return;
    }
    device->gap_told = false;
    device->sequence = (uint16_t)(frame->sequence + 1);
    int status = admit(device, frame);
    if (status == ES_OK)
        hold(device, frame);
    else if (device->stream == ES_STREAM_LOSSLESS)
        halt(device, status, frame->type, frame->sequence, device->next_event);
}

/* An event was refused: halt, or live, count it and go on with the next. */
static void event_refused(es_device *device, int code)
{
    uint32_t cause = (uint32_t)(ES_ERR_TIME - code);

    if (device->stream == ES_STREAM_LOSSLESS || cause > 3) {
        halt(device, code, device->frame.type, device->frame.sequence, device->next_event);
        return;
    }
    device->chunk_used++;
    device->next_event++;
    device->rejected++;
    device->rejected_by_cause[cause]++;
    device->window.rejected++;
}

/* Ticks wrap around: what lies less than half of 2^32 ahead is later. */
static bool is_far_ahead(const es_device *device, uint32_t tick)
{
    uint32_t ahead = tick - device->net.tick;
    return ahead > MOST_TICKS && ahead <= INT32_MAX;
}

/* Closes ticks towards `tick`, not too many at once. Returns what es_net_advance does. */
static int advance_towards(es_device *device, uint32_t tick)
{
    uint32_t since = now_us(device);
    int status = es_net_advance(&device->net, is_far_ahead(device, tick) ? device->net.tick + MOST_TICKS : tick);
    count_compute(device, since);
    if (status == ES_WINDOW)
        window_closed(device);
    return status;
}

/* Pushes the events of the chunk that do not lie far ahead. */
static int push_near(es_device *device)
{
    const es_event *events = device->chunk + device->chunk_used;
    size_t left = device->chunk_count - device->chunk_used;
    size_t count = 0;
    size_t used = 0;

    while (count < left && !is_far_ahead(device, events[count].tick))
        count++;
    uint32_t since = now_us(device);
    int status = es_net_push(&device->net, events, count, &used);
    count_compute(device, since);
    device->chunk_used += (uint32_t)used;
    device->next_event += (uint32_t)used;
    if (used > 0)
        moved_on(device);
    if (status == ES_WINDOW)
        window_closed(device);
    return status;
}

static void work_on_events(es_device *device)
{
    if (device->chunk_used == device->chunk_count) {
        device->chunk_count = (uint32_t)es_words_read(&device->words, device->chunk, ES_DEVICE_CHUNK);
        device->chunk_used = 0;
        if (device->chunk_count == 0) {
            frame_done(device);
            return;
        }
    }
    uint32_t tick = device->chunk[device->chunk_used].tick;
    int status = is_far_ahead(device, tick) ? advance_towards(device, tick) : push_near(device);
    if (status < 0)
        event_refused(device, status);
}

/* A frame that moves time or reads is handled, or was refused. */
static void control_done(es_device *device, int status)
{
    if (status < 0 && device->stream == ES_STREAM_LOSSLESS)
        halt(device, status, device->frame.type, device->frame.sequence, device->next_event);
    else
        frame_done(device);
}

static void work_on_advance(es_device *device)
{
    int status = advance_towards(device, device->frame.word);

    if (status < 0 || (status == ES_OK && device->net.tick == device->frame.word))
        control_done(device, status);
}

/* One piece of the stream frame in hand; makes at most one result. */
static void work(es_device *device)
{
    const es_frame *frame = &device->frame;

    if (es_get_u16(frame->payload + 4) != device->sample) {
        end_sample(device); /* live: the frame that said so was lost */
        device->sample = es_get_u16(frame->payload + 4);
        return;
    }
    switch (frame->type) {
    case ES_FRAME_EVENTS:
        work_on_events(device);
        break;
    case ES_FRAME_ADVANCE:
        work_on_advance(device);
        break;
    case ES_FRAME_END_SAMPLE:
        end_sample(device);
        frame_done(device);
        break;
    default:
        control_done(device, make_result(device, REASON_READ));
        break;
    }
}

/* ---- frames ---------------------------------------------------------------- */

typedef void (*answer_function)(es_device *device, const es_frame *frame);

static void command(es_device *device, const es_frame *frame, uint32_t least, answer_function answer)
{
    if (frame->size < least)
        refuse(device, frame, ES_ERR_FRAME);
    else
        answer(device, frame);
}

static void credit_from_host(es_device *device, const es_frame *frame)
{
    acknowledge(device, frame);
}

static void hello(es_device *device, const es_frame *frame)
{
    send_hello(device, frame->word);
}

/* What a board sends itself (say, on a line that echoes) is not answered. */
static void handle(es_device *device, const es_frame *frame)
{
    if ((frame->flags & ES_LINK_RESPONSE) != 0 || (frame->major != ES_LINK_MAJOR && frame->type != ES_FRAME_HELLO))
        return;
    if ((int32_t)(device->taken - device->baud_from) > 0)
        device->former_baud = 0;
    switch (frame->type) {
    case ES_FRAME_HELLO:
        command(device, frame, 0, hello);
        break;
    case ES_FRAME_PING:
        command(device, frame, 8, answer_ping);
        break;
    case ES_FRAME_STATS:
        command(device, frame, 3, answer_stats);
        break;
    case ES_FRAME_MODEL_BEGIN:
        command(device, frame, 8, model_begin);
        break;
    case ES_FRAME_MODEL_DATA:
        command(device, frame, 0, model_data);
        break;
    case ES_FRAME_MODEL_END:
        command(device, frame, 8, model_end);
        break;
    case ES_FRAME_START:
        command(device, frame, 16, start);
        break;
    case ES_FRAME_SELF_TEST:
        command(device, frame, 0, self_test);
        break;
    case ES_FRAME_BAUD:
        command(device, frame, 4, change_baud);
        break;
    case ES_FRAME_CREDIT:
        command(device, frame, 8, credit_from_host);
        break;
    case ES_FRAME_EVENTS:
    case ES_FRAME_ADVANCE:
    case ES_FRAME_END_SAMPLE:
    case ES_FRAME_READ:
        stream_frame(device, frame);
        break;
    case ES_FRAME_RESULT:
    case ES_FRAME_ERROR:
        break;
    default:
        refuse(device, frame, ES_ERR_COMMAND);
        break;
    }
}

static bool may_work(const es_device *device)
{
    return device->stream == ES_STREAM_LIVE ||
           device->result_next - device->result_acknowledged < device->result_slots;
}

/* Reads up to the end of a frame and handles it; false if there was nothing to read. */
static bool read_frame(es_device *device)
{
    uint32_t waiting = device->received - device->taken;
    uint32_t at = device->taken & (device->config.ring_size - 1u);
    uint32_t run = waiting < device->config.ring_size - at ? waiting : device->config.ring_size - at;
    es_frame frame;
    size_t used;

    if (run == 0)
        return false;
    bool whole = es_frame_read(&device->reader, device->config.ring + at, run, &used, &frame);
    device->taken += (uint32_t)used;
    if (whole)
        handle(device, &frame);
    return true;
}

static bool takes_long(const es_device *device)
{
    if (device->config.clock_us == NULL)
        return device->pieces > LONG_PIECES;
    return now_us(device) - device->busy_since > LONG_US;
}

bool es_device_may_sleep(const es_device *device)
{
    return device->received == device->taken && device->former_baud == 0;
}

bool es_device_poll(es_device *device)
{
    if (!device->announced) {
        device->announced = true;
        send_hello(device, 0);
        return true;
    }
    try_baud(device);
    if (!device->busy || !may_work(device))
        return read_frame(device);
    work(device);
    device->pieces++;
    if (device->busy && takes_long(device))
        read_frame(device);
    if (device->busy && now_us(device) - device->credited_at > LONG_US)
        send_credit(device, ES_FRAME_CREDIT, 0, 0); /* so that the host sees it at work */
    return true;
}
