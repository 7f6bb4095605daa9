/* STM32VLDISCOVERY: STM32F100RB, Cortex-M3 at 24 MHz, 8 KB of RAM. QEMU: -M stm32vldiscovery. */
#ifndef MEMORY_H
#define MEMORY_H

#define BOARD_NAME "stm32vldiscovery"

#define MODEL_BYTES 2816u
#define ARENA_BYTES 1536u
#define RING_BYTES 512u
#define MAX_PAYLOAD 128

#define UART_ADDRESS 0x40013800u
#define BAUD 921600u

#endif
