#include "stm32_usart.h"
#include "board.h"
#include "memory.h"

typedef struct usart_registers {
    volatile uint32_t status;
    volatile uint32_t data;
    volatile uint32_t baud_divider; /* in sixteenths, for 16 samples of each bit */
    volatile uint32_t control;
} usart_registers;

enum { STATUS_OVERRUN = 8, STATUS_RECEIVED = 32, STATUS_SENT = 64, STATUS_SEND_EMPTY = 128 };
enum { LEAST_DIVIDER = 16, GREATEST_DIVIDER = 65535 };
enum { CONTROL_RECEIVE = 4, CONTROL_SEND = 8, CONTROL_RECEIVE_INTERRUPT = 32, CONTROL_ON = 1 << 13 };

static usart_registers *const usart = (usart_registers *)UART_ADDRESS;
static uint32_t usart_clock_hz;

void usart_start(uint32_t clock_hz)
{
    usart_clock_hz = clock_hz;
    usart->baud_divider = (clock_hz + BAUD / 2u) / BAUD;
    usart->control = CONTROL_ON | CONTROL_SEND | CONTROL_RECEIVE | CONTROL_RECEIVE_INTERRUPT;
}

/* Reading status, then data, also ends an overrun, which would interrupt for ever. */
void usart_received(void)
{
    uint32_t status;

    while ((status = usart->status) & (STATUS_RECEIVED | STATUS_OVERRUN)) {
        uint8_t byte = (uint8_t)usart->data;
        if (status & STATUS_OVERRUN)
            byte_lost();
        if (status & STATUS_RECEIVED)
            bytes_received(&byte, 1);
    }
}

bool board_set_baud(uint32_t baud, bool now)
{
    uint32_t divider = (usart_clock_hz + baud / 2u) / baud;
    uint32_t real = divider ? usart_clock_hz / divider : 0;

    if (divider < LEAST_DIVIDER || divider > GREATEST_DIVIDER)
        return false;
    if (real > baud + baud / 50u || real < baud - baud / 50u)
        return false;
    if (now) {
        while (!(usart->status & STATUS_SENT))
            continue;
        usart->baud_divider = divider;
    }
    return true;
}

void board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (!(usart->status & STATUS_SEND_EMPTY))
            continue;
        usart->data = bytes[i];
    }
}
