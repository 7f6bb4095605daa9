/* Netduino Plus 2: STM32F405RG, Cortex-M4 at 168 MHz. QEMU: -M netduinoplus2. */
#ifndef MEMORY_H
#define MEMORY_H

#define BOARD_NAME "netduinoplus2"

#define MODEL_BYTES (64u << 10)
#define ARENA_BYTES (44u << 10)
#define RING_BYTES (8u << 10)
#define MAX_PAYLOAD 1024

#define UART_ADDRESS 0x40011000u
#define BAUD 921600u

#endif
