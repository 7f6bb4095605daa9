/* Arm MPS3 board with the AN547 image: Cortex-M55 at 32 MHz. QEMU: -M mps3-an547. */
#ifndef MEMORY_H
#define MEMORY_H

#define BOARD_NAME "mps3-an547"

#define MODEL_BYTES (2u << 20) /* SRAM */
#define ARENA_BYTES (2u << 20) /* SRAM */
#define RING_BYTES (16u << 10)
#define MAX_PAYLOAD 1024

#define UART_ADDRESS 0x59303000u
#define UART_CLOCK_HZ 25000000u
#define BAUD 921600u

#endif
