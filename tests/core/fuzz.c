/* Damages model files, makes their checksums and arena sizes good again, and
 * runs what the loader accepts. Requires what docs/security.md promises; the
 * numbers are those of that page. Meant to be compiled with the address and
 * undefined behaviour sanitizers, which require S1, S3 and S6.
 *
 *     fuzz SEED COUNT MODEL.esg...
 *
 * prints how many models were accepted, and a digest of their scores. With
 * -DLIBFUZZER and -fsanitize=fuzzer the models come from libFuzzer instead.
 */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */

#include <stdio.h>
#include <stdlib.h>

#include "es_internal.h"

enum { EVENTS = 60, MAX_ARENA = 1 << 20, MAX_FILE = 1 << 16, SECTIONS = 8 };

static uint32_t state;

static uint32_t random_below(uint32_t limit)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % limit;
}

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "failed: %s\n", what);
        abort();
    }
}

/* S1, S6: aligned, and exactly as large as asked for, so that the sanitizer sees every byte beyond. */
static void *allocate(size_t size)
{
    void *memory = NULL;

    require(posix_memalign(&memory, ES_ALIGNMENT, size ? size : 1) == 0, "memory");
    return memory;
}

/* ---- models ------------------------------------------------------------ */

typedef struct bytes {
    uint8_t *data;
    uint32_t size;
} bytes;

static bytes read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    bytes content = {allocate(MAX_FILE), 0};

    require(file != NULL, path);
    content.size = (uint32_t)fread(content.data, 1, MAX_FILE, file);
    fclose(file);
    return content;
}

static es_header *header_of(bytes file)
{
    return (es_header *)(void *)file.data;
}

static es_section *sections_of(bytes file)
{
    return (es_section *)(void *)(file.data + sizeof(es_header));
}

static void damage(bytes file)
{
    static const uint8_t values[] = {0, 1, 2, 3, 4, 8, 15, 16, 127, 128, 254, 255};
    static const uint8_t favourites[] = {0, 0, 0, 1, 1, 1, 2, 3, 4, 4, 5, 7};
    uint32_t offset = random_below(file.size);

    if (random_below(50) != 0) { /* mostly in the records */
        const es_section *section = &sections_of(file)[favourites[random_below(sizeof favourites)]];
        if (section->size == 0)
            return;
        offset = (section->offset + random_below(section->size)) % file.size; /* the table may be damaged */
    }
    if (random_below(2))
        file.data[offset] = values[random_below(sizeof values)];
    else
        file.data[offset] ^= (uint8_t)(1u << random_below(8));
}

static void repair(bytes file)
{
    es_header *header = header_of(file);

    for (uint32_t i = 0; i < SECTIONS; i++) {
        es_section *section = &sections_of(file)[i];
        if (section->offset <= file.size && section->size <= file.size - section->offset)
            section->crc = es_crc32(0, file.data + section->offset, section->size);
    }
    header->crc = 0;
    header->crc = es_crc32(0, file.data, sizeof *header + SECTIONS * sizeof(es_section));
}

/* Shapes may have changed: the header tells the arena sizes that the core works out. */
static void repair_sizes(bytes file, es_model *model)
{
    es_header *header = header_of(file);
    int status = es_model_open(model, file.data, file.size);

    if (status != ES_ERR_HEADER || model->data != file.data) /* something else, or found before the shapes */
        return;
    header->streaming_bytes = (uint32_t)es_arena_fixed(model, ES_PLAN_STREAMING, NULL);
    header->one_shot_bytes = (uint32_t)es_arena_fixed(model, ES_PLAN_ONE_SHOT, NULL);
    repair(file);
    if (es_model_open(model, file.data, file.size) == ES_ERR_HEADER)
        header->one_shot_bytes = 0;
    repair(file);
}

static void repair_one_shot(bytes file, es_model *model)
{
    es_header *header = header_of(file);
    uint32_t *table;

    if (header->one_shot_bytes == 0 || header->one_shot_bytes > MAX_ARENA)
        return;
    table = calloc(model->population_count, ES_BUFFER_KINDS * sizeof *table);
    header->one_shot_bytes = (uint32_t)es_arena_one_shot(model, table);
    free(table);
    repair(file);
    require(es_model_open(model, file.data, file.size) == ES_OK, "one-shot size");
}

/* ---- running ----------------------------------------------------------- */

typedef struct runner {
    es_net net;
    uint8_t *arena;
    int32_t *scores;
    uint32_t count;
} runner;

static bool start(runner *run, const es_model *model, es_plan plan)
{
    uint32_t size;

    if (es_arena_size(model, plan, &size) != ES_OK || size > MAX_ARENA)
        return false;
    run->arena = allocate(size - 1u);
    require(es_net_init(&run->net, model, plan, run->arena, size - 1u) == ES_ERR_ARENA, "S5: a byte too small");
    free(run->arena);
    run->arena = allocate(size);
    run->count = es_output_size(model);
    run->scores = allocate(run->count * sizeof *run->scores);
    require(es_net_init(&run->net, model, plan, run->arena, size) == ES_OK, "S5: init");
    require(es_net_output(&run->net, run->scores, run->count + 1u) < 0, "S8: another number of scores");
    return true;
}

static void stop(runner *run)
{
    free(run->arena);
    free(run->scores);
}

static es_event random_event(const runner *run, uint32_t tick)
{
    uint32_t shape[3];
    es_event event;

    es_input_shape(run->net.model, shape);
    event.tick = tick;
    event.y = (uint16_t)random_below(shape[0] + (random_below(20) == 0));
    event.x = (uint16_t)random_below(shape[1] + (random_below(20) == 0));
    event.channel = (uint16_t)random_below(shape[2] + (random_below(20) == 0));
    event.value = (int16_t)random_below(65536);
    if (random_below(4) != 0)
        event.value = (int16_t)((int32_t)random_below(5) - 1);
    return event;
}

/* Far jumps in time only where they take no time: nothing works by itself, no windows end. */
static uint32_t later(const runner *run, uint32_t tick)
{
    static const uint32_t steps[] = {0, 0, 0, 1, 1, 2, 9};

    if (!run->net.pending && es_window_ticks(run->net.model) == 0 && random_below(10) == 0)
        return tick + random_below(INT32_MAX);
    return tick + steps[random_below(sizeof steps / sizeof *steps)];
}

static uint32_t digest(runner *run, uint32_t before)
{
    require(es_net_output(&run->net, run->scores, run->count) == ES_OK, "S8: output");
    return es_crc32(before, run->scores, run->count * sizeof *run->scores);
}

/* Pushes all events that are accepted, `chunk` at a time; a digest of all scores. */
static uint32_t run_all(runner *run, const es_event *events, size_t count, size_t chunk)
{
    uint64_t before = run->net.stats.input_events, taken = 0;
    uint32_t result = 0;
    size_t used;

    while (count > 0) {
        int status = es_net_push(&run->net, events, count < chunk ? count : chunk, &used);
        require(status == ES_OK || status == ES_WINDOW || (status <= ES_ERR_TIME && status >= ES_ERR_TICK_FULL),
                "S7: an event is taken or refused");
        taken += used;
        if (status == ES_WINDOW)
            result = digest(run, result);
        if (status < 0)
            used++; /* leave the refused one out */
        events += used;
        count -= used;
    }
    require(run->net.stats.input_events - before == taken, "S7: those that are taken are counted");
    require(es_net_finish(&run->net) == ES_OK, "finish");
    require(es_net_push(&run->net, events, 0, &used) == ES_ERR_STATE, "S7: nothing after the end");
    return digest(run, result);
}

static void look_at_states(runner *run)
{
    for (uint32_t number = 0; number < run->net.model->population_count; number++) {
        uint32_t size = es_population_size(run->net.model, number);
        int32_t *values = allocate(size * sizeof *values);
        require(es_net_state(&run->net, number, values, size) == ES_OK, "S8: state");
        free(values);
    }
}

static bool self_test_ends_soon(const es_model *model)
{
    const es_test *test = (const es_test *)(const void *)model->test;
    uint32_t size;

    if (model->test_size == 0 || test->event_count == 0)
        return true;
    return test->event_count <= 4096 &&
           (es_arena_size(model, ES_PLAN_ONE_SHOT, &size) == ES_OK ||
            es_test_events(test)[test->event_count - 1u].tick < 4096);
}

static void must_be_as_after_init(runner *run, const es_model *model)
{
    runner fresh;
    uint32_t expected;

    require(start(&fresh, model, ES_PLAN_STREAMING), "start");
    expected = digest(&fresh, 0);
    require(digest(run, 0) == expected, "S11: as after init");
    stop(&fresh);
}

/* A digest of the scores of random events. */
static uint32_t run_model(const es_model *model)
{
    es_event events[EVENTS];
    uint32_t tick = 0, expected;
    runner streaming, one_shot;

    if (!start(&streaming, model, ES_PLAN_STREAMING))
        return 0;
    for (size_t i = 0; i < EVENTS; i++) {
        size_t used;
        tick = later(&streaming, tick);
        events[i] = random_event(&streaming, tick);
        es_net_push(&streaming.net, &events[i], 1, &used); /* only to know whether it works by itself */
    }
    es_net_reset(&streaming.net);
    expected = run_all(&streaming, events, EVENTS, 1);
    look_at_states(&streaming);
    es_net_reset(&streaming.net);
    require(run_all(&streaming, events, EVENTS, 7) == expected, "S9: equal scores in other chunks");
    require(self_test_ends_soon(model), "S12: few events and ticks");
    es_net_self_test(&streaming.net, streaming.scores, streaming.count);
    must_be_as_after_init(&streaming, model);
    stop(&streaming);
    if (start(&one_shot, model, ES_PLAN_ONE_SHOT)) {
        require(run_all(&one_shot, events, EVENTS, EVENTS) == expected, "S10: equal scores in both plans");
        stop(&one_shot);
    }
    return expected;
}

/* ---- one model ----------------------------------------------------------- */

static bool is_known(int status)
{
    return status == ES_OK || strcmp(es_error_message(status), "unknown error") != 0;
}

/* Opens a model and runs it if it is accepted. Returns whether it was. */
static bool try_model(bytes file, uint32_t *scores)
{
    es_model model = {0}, again = {0};
    uint32_t crc;
    int status;

    repair(file);
    repair_sizes(file, &model);
    crc = es_crc32(0, file.data, file.size);
    status = es_model_open(&model, file.data, file.size);
    require(is_known(status) && status <= 0, "S3: a known code");
    require(es_model_open(&again, file.data, file.size) == status, "S4: the same answer again");
    require(es_crc32(0, file.data, file.size) == crc, "S2: opening changes nothing");
    if (status != ES_OK)
        return false;
    repair_one_shot(file, &model);
    crc = es_crc32(0, file.data, file.size);
    *scores = run_model(&model);
    require(es_crc32(0, file.data, file.size) == crc, "S2: running changes nothing");
    return true;
}

#ifdef LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes file = {allocate(size), (uint32_t)size};
    uint32_t scores;

    state = es_crc32(1, data, size) | 1u;
    memcpy(file.data, data, size);
    if (size >= sizeof(es_header) + SECTIONS * sizeof(es_section))
        try_model(file, &scores);
    free(file.data);
    return 0;
}

#else

int main(int argc, char **argv)
{
    uint32_t accepted = 0, scores = 0, count = (uint32_t)strtoul(argv[2], NULL, 10);

    state = (uint32_t)strtoul(argv[1], NULL, 10) * 2654435761u | 1u;
    for (uint32_t i = 0; i < count; i++) {
        bytes original = read_file(argv[3 + random_below((uint32_t)argc - 3)]);
        bytes file = {allocate(original.size), original.size};
        uint32_t result;
        memcpy(file.data, original.data, file.size);
        free(original.data);
        for (uint32_t changes = 1 + random_below(3); changes > 0; changes--)
            damage(file);
        if (try_model(file, &result)) {
            accepted++;
            scores = es_crc32(scores, &result, sizeof result);
        }
        free(file.data);
    }
    printf("%u %08x\n", (unsigned)accepted, (unsigned)scores);
    return 0;
}

#endif
