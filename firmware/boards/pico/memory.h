/* Raspberry Pi Pico: RP2040, one Cortex-M0+ of two at 125 MHz. Not yet run on the board; QEMU has none. */
#ifndef MEMORY_H
#define MEMORY_H

#define BOARD_NAME "pico"

#define MODEL_BYTES (144u << 10)
#define ARENA_BYTES (88u << 10)
#define RING_BYTES (16u << 10)
#define MAX_PAYLOAD 1024

#define BAUD 921600u

#endif
