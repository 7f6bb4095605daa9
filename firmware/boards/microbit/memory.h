/* BBC micro:bit, version 1: nRF51822, Cortex-M0 at 16 MHz. QEMU: -M microbit. */
#ifndef MEMORY_H
#define MEMORY_H

#define BOARD_NAME "microbit"

#define MODEL_BYTES (7u << 10)
#define ARENA_BYTES (4u << 10)
#define RING_BYTES (1u << 10)
#define MAX_PAYLOAD 256

#define BAUD 115200u

#endif
