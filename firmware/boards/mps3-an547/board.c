#include "board.h"
#include "cmsdk_uart.h"
#include "cortex-m/cortex_m.h"

#define CLOCK_HZ 32000000u
#define UART_INTERRUPT 33

/* The system counter of the SSE-300 subsystem. */
typedef struct counter_registers {
    volatile uint32_t control;
    volatile uint32_t status;
    volatile uint32_t low;
    volatile uint32_t high;
} counter_registers;

static counter_registers *const counter = (counter_registers *)0x58100000u;

__attribute__((section(".vectors.interrupts"), used)) static interrupt_handler *const interrupts[] = {
    [UART_INTERRUPT] = uart_received,
};

void board_start(void)
{
    counter->control = 1;
    uart_start();
    enable_interrupt(UART_INTERRUPT);
}

uint32_t board_clock_us(void)
{
    static microsecond_clock clock;
    return microseconds(&clock, counter->low, CLOCK_HZ / 1000000u);
}
