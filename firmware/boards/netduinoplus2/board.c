/* Serial line: PA9 sends, PA10 receives. */
#include "board.h"
#include "cortex-m/cortex_m.h"
#include "stm32_usart.h"

/* Reset and clock control (RCC), as far as it is used here. */
typedef struct clock_registers {
    volatile uint32_t control;
    volatile uint32_t pll;
    volatile uint32_t configuration;
    uint32_t unused1[9];
    volatile uint32_t enable_ahb1;
    uint32_t unused2[3];
    volatile uint32_t enable_apb1;
    volatile uint32_t enable_apb2;
} clock_registers;

enum { CRYSTAL_ON = 1 << 16, CRYSTAL_READY = 1 << 17, PLL_ON = 1 << 24, PLL_READY = 1 << 25 };
/* The lowest bits divide the crystal's 25 MHz, or the internal oscillator's 16 MHz, to 1 MHz.
 * That times 336, by 2 for the processor, and by 7 for USB. */
enum { PLL_TIMES_168 = 336 << 6 | 0 << 16 | 7 << 24, PLL_OF_CRYSTAL = 1 << 22 };
/* The status of the system's clock is two bits higher. */
enum { SYSTEM_IS_PLL = 2, APB1_QUARTER = 5 << 10, APB2_HALF = 4 << 13 };
enum { ENABLE_PORT_A = 1, ENABLE_TIMER2 = 1, ENABLE_USART1 = 1 << 4 };
enum { FLASH_WAITS_5 = 5, FLASH_PREFETCH_AND_CACHES = 7 << 8 };

typedef struct timer_registers {
    volatile uint32_t control;
    uint32_t unused1[4];
    volatile uint32_t generate;
    uint32_t unused2[3];
    volatile uint32_t count;
    volatile uint32_t prescaler;
    volatile uint32_t reload;
} timer_registers;

typedef struct pin_registers {
    volatile uint32_t mode;
    uint32_t unused[8];
    volatile uint32_t function_8_to_15;
} pin_registers;

static clock_registers *const clocks = (clock_registers *)0x40023800u;
static timer_registers *const timer2 = (timer_registers *)0x40000000u;
static pin_registers *const port_a = (pin_registers *)0x40020000u;
static volatile uint32_t *const flash_access = (volatile uint32_t *)0x40023C00u;

__attribute__((section(".vectors.interrupts"), used)) static interrupt_handler *const interrupts[] = {
    [USART1_INTERRUPT] = usart_received,
};

/* 168 MHz, a quarter on APB1 and half on APB2. */
static void clock_start(void)
{
    clocks->control |= CRYSTAL_ON;
    if (becomes(&clocks->control, CRYSTAL_READY))
        clocks->pll = PLL_OF_CRYSTAL | 25 | PLL_TIMES_168;
    else
        clocks->pll = 16 | PLL_TIMES_168;
    clocks->control |= PLL_ON;
    (void)becomes(&clocks->control, PLL_READY);
    *flash_access = FLASH_WAITS_5 | FLASH_PREFETCH_AND_CACHES;
    clocks->configuration = APB1_QUARTER | APB2_HALF;
    clocks->configuration |= SYSTEM_IS_PLL;
    (void)becomes(&clocks->configuration, SYSTEM_IS_PLL << 2);
}

void board_start(void)
{
    clock_start();
    clocks->enable_ahb1 |= ENABLE_PORT_A;
    clocks->enable_apb1 |= ENABLE_TIMER2;
    clocks->enable_apb2 |= ENABLE_USART1;
    (void)clocks->enable_apb2; /* a clock takes two cycles to start */
    /* Pins 9 and 10: function 7, the USART. */
    port_a->function_8_to_15 = (port_a->function_8_to_15 & ~0xFF0u) | 0x770u;
    port_a->mode = (port_a->mode & ~(15u << 18)) | 10u << 18;

    /* Timers of APB1 run at twice its clock. Generating an update loads the prescaler. */
    timer2->prescaler = 84u - 1u;
    timer2->reload = UINT32_MAX;
    timer2->generate = 1;
    timer2->control = 1;
    usart_start(84000000u);
    enable_interrupt(USART1_INTERRUPT);
}

uint32_t board_clock_us(void)
{
    return timer2->count;
}
