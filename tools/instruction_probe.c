/* A program for QEMU that counts instructions: see tools/measure_instructions.py, which puts jobs
 * into memory before it starts and reads what it writes to the serial line.
 *
 * A job: u32 bytes of the model, u32 bytes of what follows it, u32 kind; zeros to a multiple of 16;
 * the model, and behind it, at a multiple of 16, either events (kind 0) or what a host would send
 * (kind 1: u32 count of bytes that do not count, then bytes). A model of 0 bytes ends it all.
 */
#include "board.h"
#include "es_device.h"
#include "memory.h"

#include <string.h>

#define RING 16384u

/* The jobs follow: what is in the ELF itself, QEMU cannot load anything over. */
static uint8_t before_jobs[16] __attribute__((aligned(ES_ALIGNMENT), section(".model"), used));
static uint8_t arena[ARENA_BYTES] __attribute__((aligned(ES_ALIGNMENT), section(".arena")));
static uint8_t ring[RING];
static uint8_t frames[ES_DEVICE_FRAME_BYTES(1024)];
static uint8_t uploaded[65536] __attribute__((aligned(ES_ALIGNMENT)));
static int32_t scores[4096];
static es_device device;

typedef struct job {
    uint32_t model_bytes;
    uint32_t bytes;
    uint32_t kind;
} job;

void bytes_received(const uint8_t *bytes, size_t count)
{
    es_device_receive(&device, bytes, count);
}

void byte_lost(void)
{
}

static void write_number(uint32_t number)
{
    uint8_t digits[12];
    uint32_t count = 0;

    do {
        digits[sizeof digits - ++count] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    board_write(digits + sizeof digits - count, count);
    board_write((const uint8_t *)" ", 1);
}

static void drop_bytes(void *context, const uint8_t *bytes, size_t count)
{
    (void)context;
    (void)bytes;
    (void)count;
}

static uint32_t clock_us(void *context)
{
    (void)context;
    return board_clock_us();
}

/* One sample, from reset to scores. */
static int classify(es_net *net, const es_event *events, size_t count)
{
    int status = es_net_reset(net);

    while (status == ES_OK && count > 0) {
        size_t used;
        status = es_net_push(net, events, count, &used);
        events += used;
        count -= used;
        if (status == ES_WINDOW)
            status = ES_OK;
    }
    if (status == ES_OK)
        status = es_net_finish(net);
    return status == ES_OK ? es_net_output(net, scores, es_output_size(net->model)) : status;
}

static int run_network(const uint8_t *data, const job *given, const uint8_t *rest, uint32_t *elapsed)
{
    es_model opened;
    es_net net;
    uint32_t before;
    int status = es_model_open(&opened, data, given->model_bytes);

    if (status == ES_OK && es_output_size(&opened) > sizeof scores / sizeof *scores)
        status = ES_ERR_ARGUMENT;
    if (status == ES_OK)
        status = es_net_init(&net, &opened, ES_PLAN_STREAMING, arena, sizeof arena);
    if (status != ES_OK)
        return status;
    before = board_clock_us();
    status = classify(&net, (const es_event *)(const void *)rest, given->bytes / sizeof(es_event));
    *elapsed = board_clock_us() - before;
    return status;
}

/* As the receive interrupt and the main loop of the firmware do it, byte by byte. */
static void feed(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bytes_received(bytes + i, 1);
        while (es_device_room(&device) < RING / 2u)
            es_device_poll(&device);
    }
    while (es_device_poll(&device))
        continue;
}

static void run_device(const job *given, const uint8_t *rest, uint32_t *elapsed)
{
    const es_device_config config = {
        .model = uploaded,
        .model_capacity = sizeof uploaded,
        .arena = arena,
        .arena_capacity = sizeof arena,
        .ring = ring,
        .ring_size = sizeof ring,
        .frames = frames,
        .max_payload = 1024,
        .name = BOARD_NAME,
        .boot_epoch = 1,
        .write = drop_bytes,
        .clock_us = clock_us,
    };
    uint32_t uncounted, before;

    memcpy(&uncounted, rest, sizeof uncounted);
    es_device_init(&device, &config);
    feed(rest + 4, uncounted);
    before = board_clock_us();
    feed(rest + 4 + uncounted, given->bytes - 4 - uncounted);
    *elapsed = board_clock_us() - before;
}

static const uint8_t *aligned(const uint8_t *at, uint32_t bytes)
{
    return at + ((bytes + 15u) & ~15u);
}

int main(void)
{
    const uint8_t *at = (const uint8_t *)((uintptr_t)before_jobs + sizeof before_jobs);

    board_start();
    for (;;) {
        const job *given = (const void *)at;
        const uint8_t *data = aligned(at, sizeof *given);
        const uint8_t *rest = aligned(data, given->model_bytes);
        uint32_t elapsed = 0;
        int status = ES_OK;
        if (given->bytes == 0 && given->model_bytes == 0)
            break;
        if (given->kind == 0)
            status = run_network(data, given, rest, &elapsed);
        else
            run_device(given, rest, &elapsed);
        write_number((uint32_t)-status);
        write_number(elapsed);
        at = aligned(rest, given->bytes);
    }
    board_write((const uint8_t *)"end", 3);
    for (;;)
        continue;
}
