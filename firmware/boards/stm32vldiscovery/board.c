/* Serial line: PA9 sends, PA10 receives. */
#include "board.h"
#include "cortex-m/cortex_m.h"
#include "stm32_usart.h"

/* Reset and clock control. */
typedef struct clock_registers {
    volatile uint32_t control;
    volatile uint32_t configuration;
    volatile uint32_t interrupt;
    volatile uint32_t reset2;
    volatile uint32_t reset1;
    volatile uint32_t enable_ahb;
    volatile uint32_t enable2;
} clock_registers;

enum { CRYSTAL_ON = 1 << 16, CRYSTAL_READY = 1 << 17, PLL_ON = 1 << 24, PLL_READY = 1 << 25 };
enum { PLL_OF_CRYSTAL = 1 << 16, PLL_TIMES_3 = 1 << 18 };
enum { SYSTEM_IS_PLL = 2, SYSTEM_STATUS_PLL = 2 << 2 };
enum { ENABLE_PORT_A = 1 << 2, ENABLE_USART1 = 1 << 14 };

/* Counts 24 bits down, then interrupts. */
typedef struct systick_registers {
    volatile uint32_t control;
    volatile uint32_t reload;
    volatile uint32_t value;
} systick_registers;

enum { SYSTICK_ON = 1, SYSTICK_INTERRUPT = 2, SYSTICK_PROCESSOR_CLOCK = 4, SYSTICK_BITS = 24 };

static clock_registers *const clocks = (clock_registers *)0x40021000u;
static systick_registers *const systick = (systick_registers *)0xE000E010u;
static volatile uint32_t *const port_a_pins_8_to_15 = (volatile uint32_t *)0x40010804u;
static uint32_t clock_hz;
static volatile uint32_t wraps;

__attribute__((section(".vectors.interrupts"), used)) static interrupt_handler *const interrupts[] = {
    [USART1_INTERRUPT] = usart_received,
};

/* 24 MHz, three times the crystal's; without one the 8 MHz that the processor starts with. */
static uint32_t clock_start(void)
{
    clocks->control |= CRYSTAL_ON;
    if (!becomes(&clocks->control, CRYSTAL_READY))
        return 8000000u;
    clocks->configuration |= PLL_OF_CRYSTAL | PLL_TIMES_3;
    clocks->control |= PLL_ON;
    if (!becomes(&clocks->control, PLL_READY))
        return 8000000u;
    clocks->configuration |= SYSTEM_IS_PLL;
    return becomes(&clocks->configuration, SYSTEM_STATUS_PLL) ? 24000000u : 8000000u;
}

void systick_handler(void)
{
    wraps++;
}

void board_start(void)
{
    clock_hz = clock_start();
    clocks->enable2 |= ENABLE_PORT_A | ENABLE_USART1;
    /* Pin 9: output of the USART, 50 MHz; pin 10: input, floating. */
    *port_a_pins_8_to_15 = (*port_a_pins_8_to_15 & ~0xFF0u) | 0x4B0u;
    systick->reload = (1u << SYSTICK_BITS) - 1u;
    systick->value = 0;
    systick->control = SYSTICK_ON | SYSTICK_INTERRUPT | SYSTICK_PROCESSOR_CLOCK;
    usart_start(clock_hz);
    enable_interrupt(USART1_INTERRUPT);
}

uint32_t board_clock_us(void)
{
    static microsecond_clock clock;
    uint32_t before, value;

    do {
        before = wraps;
        value = systick->value;
    } while (before != wraps);
    return microseconds(&clock, (before << SYSTICK_BITS) - value, clock_hz / 1000000u);
}
