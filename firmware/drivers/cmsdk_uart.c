#include "cmsdk_uart.h"
#include "board.h"
#include "memory.h"

typedef struct uart_registers {
    volatile uint32_t data;
    volatile uint32_t state;
    volatile uint32_t control;
    volatile uint32_t interrupt;
    volatile uint32_t baud_divider;
} uart_registers;

enum { LEAST_DIVIDER = 16, GREATEST_DIVIDER = (1 << 20) - 1 };
enum { STATE_SEND_FULL = 1, STATE_RECEIVE_FULL = 2, STATE_RECEIVE_OVERRUN = 8 };
enum { CONTROL_SEND = 1, CONTROL_RECEIVE = 2, CONTROL_RECEIVE_INTERRUPT = 8 };
enum { INTERRUPT_RECEIVED = 2 };

static uart_registers *const uart = (uart_registers *)UART_ADDRESS;

void uart_start(void)
{
    uart->baud_divider = UART_CLOCK_HZ / BAUD;
    uart->control = CONTROL_SEND | CONTROL_RECEIVE | CONTROL_RECEIVE_INTERRUPT;
}

/* Cleared before the byte is taken: the other order could clear the next byte's interrupt. */
void uart_received(void)
{
    uart->interrupt = INTERRUPT_RECEIVED;
    if (uart->state & STATE_RECEIVE_OVERRUN) {
        uart->state = STATE_RECEIVE_OVERRUN; /* writing 1 clears it */
        byte_lost();
    }
    while (uart->state & STATE_RECEIVE_FULL) {
        uint8_t byte = (uint8_t)uart->data;
        bytes_received(&byte, 1);
    }
}

bool board_set_baud(uint32_t baud, bool now)
{
    uint32_t divider = UART_CLOCK_HZ / baud;

    if (divider < LEAST_DIVIDER || divider > GREATEST_DIVIDER || UART_CLOCK_HZ / divider - baud > baud / 50u)
        return false;
    if (now) {
        while (uart->state & STATE_SEND_FULL)
            continue;
        uint32_t began = board_clock_us();
        while (board_clock_us() - began < 2000u) /* the last byte leaves; no flag says when */
            continue;
        uart->baud_divider = divider;
    }
    return true;
}

void board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (uart->state & STATE_SEND_FULL)
            continue;
        uart->data = bytes[i];
    }
}
