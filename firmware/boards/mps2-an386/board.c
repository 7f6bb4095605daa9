#include "board.h"
#include "cortex-m/cortex_m.h"

#define CLOCK_HZ 25000000u
#define BAUD 921600u

/* CMSDK UART: one byte of buffer each way. */
typedef struct uart_registers {
    volatile uint32_t data;
    volatile uint32_t state;
    volatile uint32_t control;
    volatile uint32_t interrupt;
    volatile uint32_t baud_divider;
} uart_registers;

enum { STATE_SEND_FULL = 1, STATE_RECEIVE_FULL = 2 };
enum { CONTROL_SEND = 1, CONTROL_RECEIVE = 2, CONTROL_RECEIVE_INTERRUPT = 8 };
enum { INTERRUPT_RECEIVED = 2 };

/* CMSDK timer: counts down. */
typedef struct timer_registers {
    volatile uint32_t control;
    volatile uint32_t value;
    volatile uint32_t reload;
} timer_registers;

static uart_registers *const uart = (uart_registers *)0x40004000u;
static timer_registers *const timer = (timer_registers *)0x40000000u;

/* Cleared before the byte is taken: the other order could clear the next byte's interrupt. */
static void uart_received(void)
{
    uart->interrupt = INTERRUPT_RECEIVED;
    while (uart->state & STATE_RECEIVE_FULL) {
        uint8_t byte = (uint8_t)uart->data;
        bytes_received(&byte, 1);
    }
}

__attribute__((section(".vectors.interrupts"), used)) static interrupt_handler *const interrupts[] = {
    uart_received, /* 0 */
};

void board_start(void)
{
    timer->reload = UINT32_MAX;
    timer->value = UINT32_MAX;
    timer->control = 1;
    uart->baud_divider = CLOCK_HZ / BAUD;
    uart->control = CONTROL_SEND | CONTROL_RECEIVE | CONTROL_RECEIVE_INTERRUPT;
    enable_interrupt(0);
}

void board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (uart->state & STATE_SEND_FULL)
            continue;
        uart->data = bytes[i];
    }
}

uint32_t board_clock_us(void)
{
    static uint32_t before = UINT32_MAX, cycles, microseconds;
    uint32_t now = timer->value;

    cycles += before - now;
    before = now;
    microseconds += cycles / (CLOCK_HZ / 1000000u);
    cycles %= CLOCK_HZ / 1000000u;
    return microseconds;
}

/* Counted in memory that a restart leaves alone. After power-up it holds
 * whatever it holds, which is another number than before. */
uint32_t board_boot_epoch(void)
{
    static uint32_t starts __attribute__((section(".survives")));
    return ++starts;
}
