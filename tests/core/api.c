/* Calls of the C interface with arguments that it must refuse, and the small
 * functions. Takes the model of the documented example: 9 inputs, 3 scores. */
#include <stdio.h>
#include <string.h>

#include "edgespike.h"

#define REQUIRE(condition)                                        \
    do {                                                          \
        if (!(condition)) {                                       \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            return 1;                                             \
        }                                                         \
    } while (0)

static uint8_t file[65536] __attribute__((aligned(ES_ALIGNMENT)));
static uint8_t arena[65536] __attribute__((aligned(ES_ALIGNMENT)));

int main(int argc, char **argv)
{
    FILE *stream = fopen(argv[argc - 1], "rb");
    size_t size = fread(file, 1, sizeof file, stream), used;
    uint32_t arena_size, shape[3];
    uint64_t events, synops;
    int32_t scores[9];
    es_event event = {0, 1, 1, 0, 1};
    es_model model;
    es_net net;

    fclose(stream);
    REQUIRE(es_model_open(&model, NULL, 0) == ES_ERR_ARGUMENT);
    REQUIRE(es_model_open(&model, file + 1, size - 1) == ES_ERR_ALIGN);
    REQUIRE(es_model_open(&model, file, size) == ES_OK);

    REQUIRE(es_output_size(&model) == 3);
    REQUIRE(es_population_size(&model, 0) == 9);
    REQUIRE(es_population_size(&model, 2) == 0);
    es_input_shape(&model, shape);
    REQUIRE(shape[0] == 3 && shape[1] == 3 && shape[2] == 1);
    REQUIRE(es_tick_us(&model) == 1);
    REQUIRE(es_window_ticks(&model) == 0);

    REQUIRE(es_arena_size(&model, (es_plan)2, &arena_size) == ES_ERR_ARGUMENT);
    REQUIRE(es_arena_size(&model, ES_PLAN_STREAMING, &arena_size) == ES_OK);
    REQUIRE(es_net_init(&net, &model, (es_plan)2, arena, arena_size) == ES_ERR_ARGUMENT);
    REQUIRE(es_net_init(&net, &model, ES_PLAN_STREAMING, arena + 8, arena_size) == ES_ERR_ALIGN);
    REQUIRE(es_net_init(&net, &model, ES_PLAN_STREAMING, arena, arena_size - 1) == ES_ERR_ARENA);
    REQUIRE(es_net_init(&net, &model, ES_PLAN_STREAMING, arena, arena_size) == ES_OK);

    REQUIRE(es_net_push(&net, &event, 1, &used) == ES_OK && used == 1);
    REQUIRE(es_net_output(&net, scores, 2) == ES_ERR_ARGUMENT);
    REQUIRE(es_net_state(&net, 0, scores, 8) == ES_ERR_ARGUMENT);
    REQUIRE(es_net_state(&net, 2, scores, 0) == ES_ERR_ARGUMENT);
    REQUIRE(es_net_population_stats(&net, 2, &events, &synops) == ES_ERR_ARGUMENT);
    REQUIRE(es_net_population_stats(&net, 0, &events, &synops) == ES_OK && events == 1 && synops == 3);
    REQUIRE(es_net_finish(&net) == ES_OK);
    REQUIRE(es_net_push(&net, &event, 1, &used) == ES_ERR_STATE && used == 0);
    REQUIRE(es_net_output(&net, scores, 3) == ES_OK && scores[2] == 3);

    REQUIRE(es_crc32(0, "123456789", 9) == 0xCBF43926u);
    REQUIRE(es_crc32(es_crc32(0, "1234", 4), "56789", 5) == 0xCBF43926u);
    REQUIRE(strcmp(es_error_message(ES_ERR_CRC), "the model file is corrupted (checksum mismatch)") == 0);
    REQUIRE(strcmp(es_error_message(1000), "unknown error") == 0);
    REQUIRE(es_error_message(ES_OK)[0] != 0 && es_error_message(ES_WINDOW)[0] != 0);
    return 0;
}
