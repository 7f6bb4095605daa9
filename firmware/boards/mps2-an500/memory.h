/* Arm MPS2 board with the AN500 image: Cortex-M7 at 25 MHz. QEMU: -M mps2-an500. */
#ifndef MEMORY_H
#define MEMORY_H

#define BOARD_NAME "mps2-an500"

#define MODEL_BYTES (4u << 20) /* PSRAM */
#define ARENA_BYTES (3u << 20) /* SSRAM */
#define RING_BYTES (16u << 10)
#define MAX_PAYLOAD 1024

#define UART_ADDRESS 0x40004000u
#define UART_CLOCK_HZ 25000000u
#define BAUD 921600u

#endif
