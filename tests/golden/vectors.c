/* Runs the events of the golden models' self-tests, in every plan and in chunks
 * of several sizes, and prints what came out: one line of JSON for each run.
 *
 *     vectors MODEL.esg...
 */
#include <stdio.h>
#include <stdlib.h>

#include "es_internal.h"

enum { ARENA_BYTES = 1 << 20, FILE_BYTES = 1 << 20, MOST_SCORES = 1 << 16 };

static uint8_t file[FILE_BYTES] __attribute__((aligned(ES_ALIGNMENT)));
static uint8_t arena[ARENA_BYTES] __attribute__((aligned(ES_ALIGNMENT)));
static int32_t scores[MOST_SCORES];

static void require(int status, const char *what)
{
    if (status != ES_OK) {
        fprintf(stderr, "%s: %s\n", what, es_error_message(status));
        exit(1);
    }
}

static void push_in_chunks(es_net *net, size_t chunk)
{
    const es_test *test = (const es_test *)(const void *)net->model->test;
    const es_event *events = es_test_events(test);
    size_t left = test->event_count;

    while (left > 0) {
        size_t used;
        int status = es_net_push(net, events, left < chunk ? left : chunk, &used);
        require(status == ES_WINDOW ? ES_OK : status, "push"); /* decided early: the rest is passed over */
        events += used;
        left -= used;
    }
    require(es_net_finish(net), "finish");
}

static void print_result(const char *path, es_net *net, size_t chunk, uint32_t count)
{
    printf("{\"file\": \"%s\", \"plan\": %d, \"chunk\": %lu, \"scores\": [", path, (int)net->plan,
           (unsigned long)chunk);
    for (uint32_t i = 0; i < count; i++)
        printf("%s%ld", i ? ", " : "", (long)scores[i]);
    printf("], \"populations\": [");
    for (uint32_t i = 0; i < net->model->population_count; i++) {
        uint64_t events, synops;
        require(es_net_population_stats(net, i, &events, &synops), "statistics");
        printf("%s[%llu, %llu]", i ? ", " : "", (unsigned long long)events, (unsigned long long)synops);
    }
    printf("]}\n");
}

static void run(const char *path, const es_model *model, es_plan plan)
{
    static const size_t chunks[] = {1, 7, 1000};
    uint32_t size, count = es_output_size(model);
    es_net net;

    if (es_arena_size(model, plan, &size) != ES_OK)
        return;
    if (count > MOST_SCORES || size > sizeof arena)
        exit(2);
    require(es_net_init(&net, model, plan, arena, size), "init");
    require(es_net_self_test(&net, scores, count), "self-test");
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        require(es_net_reset(&net), "reset");
        es_net_clear_stats(&net);
        push_in_chunks(&net, chunks[i]);
        require(es_net_output(&net, scores, count), "output");
        print_result(path, &net, chunks[i], count);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *stream = fopen(argv[i], "rb");
        es_model model;
        if (stream == NULL)
            return 2;
        size_t size = fread(file, 1, sizeof file, stream);
        fclose(stream);
        require(es_model_open(&model, file, size), argv[i]);
        run(argv[i], &model, ES_PLAN_STREAMING);
        run(argv[i], &model, ES_PLAN_ONE_SHOT);
    }
    return 0;
}
