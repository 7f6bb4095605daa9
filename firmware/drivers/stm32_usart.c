#include "stm32_usart.h"
#include "board.h"
#include "memory.h"

typedef struct usart_registers {
    volatile uint32_t status;
    volatile uint32_t data;
    volatile uint32_t baud_divider; /* in sixteenths, for 16 samples of each bit */
    volatile uint32_t control;
} usart_registers;

enum { STATUS_OVERRUN = 8, STATUS_RECEIVED = 32, STATUS_SEND_EMPTY = 128 };
enum { CONTROL_RECEIVE = 4, CONTROL_SEND = 8, CONTROL_RECEIVE_INTERRUPT = 32, CONTROL_ON = 1 << 13 };

static usart_registers *const usart = (usart_registers *)UART_ADDRESS;

void usart_start(uint32_t clock_hz)
{
    usart->baud_divider = (clock_hz + BAUD / 2u) / BAUD;
    usart->control = CONTROL_ON | CONTROL_SEND | CONTROL_RECEIVE | CONTROL_RECEIVE_INTERRUPT;
}

/* Reading status, then data, also ends an overrun, which would interrupt for ever. */
void usart_received(void)
{
    uint32_t status;

    while ((status = usart->status) & (STATUS_RECEIVED | STATUS_OVERRUN)) {
        uint8_t byte = (uint8_t)usart->data;
        if (status & STATUS_RECEIVED)
            bytes_received(&byte, 1);
    }
}

void board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (!(usart->status & STATUS_SEND_EMPTY))
            continue;
        usart->data = bytes[i];
    }
}
