/* Serial line: PA9 sends, PA10 receives. */
#include "board.h"
#include "cortex-m/cortex_m.h"
#include "stm32_usart.h"

#define CLOCK_HZ 24000000u

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
enum { PLL_OF_CRYSTAL = 1 << 16, PLL_TIMES_3 = 1 << 18, PLL_TIMES_6 = 4 << 18 };
enum { SYSTEM_IS_PLL = 2 }; /* its status is two bits higher */
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
static volatile uint32_t wraps;

__attribute__((section(".vectors.interrupts"), used)) static interrupt_handler *const interrupts[] = {
    [USART1_INTERRUPT] = usart_received,
};

/* 24 MHz: three times the crystal's 8, or six times half of the internal oscillator's 8. */
static void clock_start(void)
{
    clocks->control |= CRYSTAL_ON;
    if (becomes(&clocks->control, CRYSTAL_READY))
        clocks->configuration = PLL_OF_CRYSTAL | PLL_TIMES_3;
    else
        clocks->configuration = PLL_TIMES_6;
    clocks->control |= PLL_ON;
    (void)becomes(&clocks->control, PLL_READY);
    clocks->configuration |= SYSTEM_IS_PLL;
    (void)becomes(&clocks->configuration, SYSTEM_IS_PLL << 2);
}

void systick_handler(void)
{
    wraps++;
}

void board_start(void)
{
    clock_start();
    clocks->enable2 |= ENABLE_PORT_A | ENABLE_USART1;
    /* Pin 9: output of the USART, 50 MHz; pin 10: input, floating. */
    *port_a_pins_8_to_15 = (*port_a_pins_8_to_15 & ~0xFF0u) | 0x4B0u;
    systick->reload = (1u << SYSTICK_BITS) - 1u;
    systick->value = 0;
    systick->control = SYSTICK_ON | SYSTICK_INTERRUPT | SYSTICK_PROCESSOR_CLOCK;
    usart_start(CLOCK_HZ);
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
    return microseconds(&clock, (before << SYSTICK_BITS) - value, CLOCK_HZ / 1000000u);
}
