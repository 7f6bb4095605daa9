/* The main loop: received bytes go to the device loop of the core, and back. */
#include "board.h"
#include "cortex-m/cortex_m.h"
#include "es_device.h"
#include "memory.h"

static uint8_t model[MODEL_BYTES] __attribute__((aligned(ES_ALIGNMENT), section(".model")));
static uint8_t arena[ARENA_BYTES] __attribute__((aligned(ES_ALIGNMENT), section(".arena")));
static uint8_t ring[RING_BYTES];
static uint8_t frames[ES_DEVICE_FRAME_BYTES(MAX_PAYLOAD)];
static es_device device;

static void write_bytes(void *context, const uint8_t *bytes, size_t count)
{
    (void)context;
    board_write(bytes, count);
}

static uint32_t clock_us(void *context)
{
    (void)context;
    return board_clock_us();
}

static bool set_baud(void *context, uint32_t baud, bool now)
{
    (void)context;
    return board_set_baud(baud, now);
}

void bytes_received(const uint8_t *bytes, size_t count)
{
    es_device_receive(&device, bytes, count);
}

void byte_lost(void)
{
    device.dropped++;
}

int main(void)
{
    const es_device_config config = {
        .model = model,
        .model_capacity = sizeof model,
        .arena = arena,
        .arena_capacity = sizeof arena,
        .ring = ring,
        .ring_size = sizeof ring,
        .frames = frames,
        .max_payload = MAX_PAYLOAD,
        .name = BOARD_NAME,
        .boot_epoch = board_boot_epoch(),
        .write = write_bytes,
        .clock_us = clock_us,
        .set_baud = set_baud,
        .baud = BAUD,
    };

    if (es_device_init(&device, &config) != ES_OK)
        restart(); /* memory.h has sizes that cannot work */
    board_start();
    for (;;) {
        if (es_device_poll(&device))
            continue;
        interrupts_off(); /* a byte that comes now still ends the sleep */
        if (es_device_may_sleep(&device))
            wait_for_interrupt();
        interrupts_on();
    }
}
