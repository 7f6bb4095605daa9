/* Serial line: the board's own USB, 115200 baud, which is what its interface chip can do. */
#include "board.h"
#include "cortex-m/cortex_m.h"
#include "memory.h"

#define UART_INTERRUPT 2
#define SEND_PIN 24
#define RECEIVE_PIN 25

/* Registers by their offset / 4. A peripheral does its tasks when 1 is written to them. */
enum { CLOCK_TASK_CRYSTAL = 0x000 / 4, CLOCK_EVENT_CRYSTAL = 0x100 / 4 };
enum { UART_TASK_RECEIVE = 0x000 / 4, UART_TASK_SEND = 0x008 / 4 };
enum { UART_EVENT_RECEIVED = 0x108 / 4, UART_EVENT_SENT = 0x11C / 4, UART_SET_INTERRUPTS = 0x304 / 4 };
enum { UART_ERRORS = 0x480 / 4, UART_ENABLE = 0x500 / 4 };
enum { UART_SEND_PIN = 0x50C / 4, UART_RECEIVE_PIN = 0x514 / 4 };
enum { UART_RECEIVED = 0x518 / 4, UART_SEND = 0x51C / 4, UART_BAUD = 0x524 / 4 };
enum { TIMER_TASK_START = 0x000 / 4, TIMER_TASK_CAPTURE = 0x040 / 4 };
enum { TIMER_BITS = 0x508 / 4, TIMER_PRESCALER = 0x510 / 4, TIMER_CAPTURED = 0x540 / 4 };
enum { PORT_SET = 0x508 / 4, PORT_SET_OUTPUTS = 0x518 / 4, PORT_PINS = 0x700 / 4 };

enum { UART_OVERRUN = 1 };
enum { UART_ON = 4, UART_RECEIVED_INTERRUPT = 1 << 2, UART_115200 = 0x01D7E000 };
enum { TIMER_32_BITS = 3, TIMER_MICROSECONDS = 4 /* 16 MHz / 2^4 */ };

static volatile uint32_t *const clock_control = (volatile uint32_t *)0x40000000u;
static volatile uint32_t *const uart = (volatile uint32_t *)0x40002000u;
static volatile uint32_t *const timer0 = (volatile uint32_t *)0x40008000u;
static volatile uint32_t *const port = (volatile uint32_t *)0x50000000u;

/* Cleared before the byte is taken, which sets it again if there is another one. */
static void uart_received(void)
{
    if (uart[UART_ERRORS] & UART_OVERRUN) {
        uart[UART_ERRORS] = UART_OVERRUN; /* writing 1 clears it */
        byte_lost();
    }
    while (uart[UART_EVENT_RECEIVED]) {
        uart[UART_EVENT_RECEIVED] = 0;
        uint8_t byte = (uint8_t)uart[UART_RECEIVED];
        bytes_received(&byte, 1);
    }
}

__attribute__((section(".vectors.interrupts"), used)) static interrupt_handler *const interrupts[] = {
    [UART_INTERRUPT] = uart_received,
};

void board_start(void)
{
    /* The crystal keeps the baud rate; without it the processor's own oscillator goes on. */
    clock_control[CLOCK_TASK_CRYSTAL] = 1;
    (void)becomes(&clock_control[CLOCK_EVENT_CRYSTAL], 1);

    timer0[TIMER_BITS] = TIMER_32_BITS;
    timer0[TIMER_PRESCALER] = TIMER_MICROSECONDS;
    timer0[TIMER_TASK_START] = 1;

    port[PORT_SET] = 1u << SEND_PIN;
    port[PORT_SET_OUTPUTS] = 1u << SEND_PIN;
    port[PORT_PINS + RECEIVE_PIN] = 0; /* an input that is connected */
    uart[UART_SEND_PIN] = SEND_PIN;
    uart[UART_RECEIVE_PIN] = RECEIVE_PIN;
    uart[UART_BAUD] = UART_115200;
    uart[UART_ENABLE] = UART_ON;
    uart[UART_SET_INTERRUPTS] = UART_RECEIVED_INTERRUPT;
    uart[UART_TASK_SEND] = 1;
    uart[UART_TASK_RECEIVE] = 1;
    enable_interrupt(UART_INTERRUPT);
}

void board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uart[UART_EVENT_SENT] = 0;
        uart[UART_SEND] = bytes[i];
        while (!uart[UART_EVENT_SENT])
            continue;
    }
}

/* Its interface chip keeps 115200. */
bool board_set_baud(uint32_t baud, bool now)
{
    (void)now;
    return baud == BAUD;
}

uint32_t board_clock_us(void)
{
    timer0[TIMER_TASK_CAPTURE] = 1;
    return timer0[TIMER_CAPTURED];
}
