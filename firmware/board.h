/* What a board provides: see README.md. */
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

/* cortex-m/startup.c: differs after each start of the board. */
uint32_t board_boot_epoch(void);

/* main.c: takes received bytes; call it from the receive interrupt. */
void bytes_received(const uint8_t *bytes, size_t count);

#endif
