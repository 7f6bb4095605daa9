/* What a board provides: see README.md. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Clocks, the UART with its receive interrupt, and the timer. */
void board_start(void);

/* Sends all bytes before it returns. */
void board_write(const uint8_t *bytes, size_t count);

/* Changes the baud of the serial line if `now`, when all that was written has left; else only says whether it
 * could, within 2 %. It starts with BAUD of memory.h. */
bool board_set_baud(uint32_t baud, bool now);

/* Microseconds since some moment, modulo 2^32. Called at least once in 100 seconds. */
uint32_t board_clock_us(void);

/* cortex-m/startup.c: differs after each start of the board. */
uint32_t board_boot_epoch(void);

/* main.c: takes received bytes; call it from the receive interrupt. */
void bytes_received(const uint8_t *bytes, size_t count);

/* main.c: counts a byte that the UART lost because the one before was not taken in time. Also
 * from the receive interrupt. */
void byte_lost(void);

#endif
