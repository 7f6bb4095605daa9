/* Arm MPS2 boards: interrupts, and the timer (CMSDK APB timer, which counts down). */
#include "board.h"
#include "cmsdk_uart.h"
#include "cortex-m/cortex_m.h"

#define CLOCK_HZ 25000000u

typedef struct timer_registers {
    volatile uint32_t control;
    volatile uint32_t value;
    volatile uint32_t reload;
} timer_registers;

static timer_registers *const timer = (timer_registers *)0x40000000u;

__attribute__((section(".vectors.interrupts"), used)) static interrupt_handler *const interrupts[] = {
    uart_received, /* 0 */
};

void board_start(void)
{
    timer->reload = UINT32_MAX;
    timer->value = UINT32_MAX;
    timer->control = 1;
    uart_start();
    enable_interrupt(0);
}

uint32_t board_clock_us(void)
{
    static microsecond_clock clock;
    return microseconds(&clock, UINT32_MAX - timer->value, CLOCK_HZ / 1000000u);
}
