/* What a board provides. A new board is a folder in boards/ with
 *
 *   memory.h   sizes: BOARD_NAME, MODEL_BYTES, ARENA_BYTES, RING_BYTES, MAX_PAYLOAD
 *   board.c    the functions below, and its interrupt handlers in section .vectors.interrupts
 *   linker.ld  where everything goes
 *   board.mk   compiler flags of its processor (CPU)
 */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Clocks, the UART with its receive interrupt, and the timer. */
void board_start(void);

/* Sends all bytes before it returns. */
void board_write(const uint8_t *bytes, size_t count);

/* Microseconds since some moment, modulo 2^32. Called at least once in 100 seconds. */
uint32_t board_clock_us(void);

/* Differs after each start of the board. */
uint32_t board_boot_epoch(void);

/* main.c: takes received bytes; call it from the receive interrupt. */
void bytes_received(const uint8_t *bytes, size_t count);

#endif
