/* Serial line: UART0, GP0 (pin 1) sends, GP1 (pin 2) receives, 3.3 V. Not yet run on the board. */
#include "board.h"
#include "cortex-m/cortex_m.h"
#include "memory.h"

#define CLOCK_HZ 125000000u
#define UART0_INTERRUPT 20

/* Registers by their offset / 4. */
enum { RESET = 0x00 / 4, RESET_DONE = 0x08 / 4 };
enum { REFERENCE_CONTROL = 0x30 / 4, REFERENCE_SELECTED = 0x38 / 4 };
enum { SYSTEM_CONTROL = 0x3C / 4, SYSTEM_SELECTED = 0x44 / 4, PERIPHERAL_CONTROL = 0x48 / 4 };
enum { CRYSTAL_CONTROL = 0x00 / 4, CRYSTAL_STATUS = 0x04 / 4, CRYSTAL_STARTUP = 0x0C / 4 };
enum { PLL_STATUS = 0x00 / 4, PLL_POWER = 0x04 / 4, PLL_MULTIPLIER = 0x08 / 4, PLL_DIVIDERS = 0x0C / 4 };
enum { WATCHDOG_TICK = 0x2C / 4, TIMER_LOW = 0x28 / 4 };
enum { UART_DATA = 0x00 / 4, UART_FLAGS = 0x18 / 4, UART_DIVIDER = 0x24 / 4, UART_FRACTION = 0x28 / 4 };
enum { UART_LINE = 0x2C / 4, UART_CONTROL = 0x30 / 4, UART_LEVELS = 0x34 / 4, UART_INTERRUPTS = 0x38 / 4 };
enum { UART_CLEAR = 0x44 / 4 };

/* The peripherals that are used, in the reset registers. */
enum { PINS = 1 << 5, PADS = 1 << 8, PLL = 1 << 12, TIMER = 1 << 21, UART0 = 1 << 22 };
enum { FROM_CRYSTAL = 2, CRYSTAL_SELECTED = 1 << 2, REFERENCE_IS_SYSTEM = 1 << 0 };
enum { FROM_PLL = 1, PLL_SELECTED = 1 << 1, PERIPHERALS_ON = 1 << 11 };
enum { CRYSTAL_ON = 0xFAB << 12, CRYSTAL_1_TO_15_MHZ = 0xAA0 };
enum { PLL_OFF = 1 << 0 | 1 << 5, PLL_OUTPUT_OFF = 1 << 3 };
enum { TICK_ON = 1 << 9 };
enum { LEAST_DIVIDER = 1 << 6, GREATEST_DIVIDER = 65535 << 6 };
enum { UART_BUSY = 1 << 3, UART_EMPTY = 1 << 4, UART_FULL = 1 << 5 };
enum { UART_8_BITS = 3 << 5, UART_BUFFERS = 1 << 4 };
enum { UART_ON = 1 << 0, UART_SEND = 1 << 8, UART_RECEIVE = 1 << 9 };
enum { UART_RECEIVED = 1 << 4, UART_QUIET = 1 << 6, UART_OVERRUN = 1 << 10 };
enum { BYTE_AFTER_OVERRUN = 1 << 11 };
enum { FUNCTION_UART = 2, PAD_INPUT = 1 << 6, PAD_PULL_UP = 1 << 3, PAD_4_MA = 1 << 4 };

static const uint32_t ready = (uint32_t)1 << 31; /* of the crystal and the PLL */

static volatile uint32_t *const clocks = (volatile uint32_t *)0x40008000u;
static volatile uint32_t *const resets = (volatile uint32_t *)0x4000C000u;
static volatile uint32_t *const resets_set = (volatile uint32_t *)0x4000E000u;
static volatile uint32_t *const resets_clear = (volatile uint32_t *)0x4000F000u;
static volatile uint32_t *const pins = (volatile uint32_t *)0x40014000u; /* status and control of each */
static volatile uint32_t *const pads = (volatile uint32_t *)0x4001C004u;
static volatile uint32_t *const crystal = (volatile uint32_t *)0x40024000u;
static volatile uint32_t *const pll = (volatile uint32_t *)0x40028000u;
static volatile uint32_t *const uart = (volatile uint32_t *)0x40034000u;
static volatile uint32_t *const timer = (volatile uint32_t *)0x40054000u;
static volatile uint32_t *const watchdog = (volatile uint32_t *)0x40058000u;

/* Cleared before the bytes are taken: the next one interrupts again. */
static void uart_received(void)
{
    uart[UART_CLEAR] = UART_RECEIVED | UART_QUIET | UART_OVERRUN;
    while (!(uart[UART_FLAGS] & UART_EMPTY)) {
        uint32_t data = uart[UART_DATA];
        uint8_t byte = (uint8_t)data;
        if (data & BYTE_AFTER_OVERRUN)
            byte_lost();
        bytes_received(&byte, 1);
    }
}

__attribute__((section(".vectors.interrupts"), used)) static interrupt_handler *const interrupts[] = {
    [UART0_INTERRUPT] = uart_received,
    [31] = 0,
};

static void take_out_of_reset(uint32_t peripherals)
{
    resets_set[RESET] = peripherals;
    resets_clear[RESET] = peripherals;
    (void)becomes(&resets[RESET_DONE], peripherals);
}

/* The crystal's 12 MHz for time; times 125, by 6 and by 2, for the processor and the UART. A
 * restart finds the processor on the PLL: it changes to the crystal first. */
static void clock_start(void)
{
    crystal[CRYSTAL_STARTUP] = 47; /* times 256 cycles: 1 ms */
    crystal[CRYSTAL_CONTROL] = CRYSTAL_ON | CRYSTAL_1_TO_15_MHZ;
    while (!becomes(&crystal[CRYSTAL_STATUS], ready))
        continue;
    clocks[SYSTEM_CONTROL] = 0;
    (void)becomes(&clocks[SYSTEM_SELECTED], REFERENCE_IS_SYSTEM);
    clocks[REFERENCE_CONTROL] = FROM_CRYSTAL;
    (void)becomes(&clocks[REFERENCE_SELECTED], CRYSTAL_SELECTED);

    take_out_of_reset(PLL);
    pll[PLL_STATUS] = 1; /* the crystal undivided */
    pll[PLL_MULTIPLIER] = 125;
    pll[PLL_POWER] &= ~(uint32_t)PLL_OFF;
    while (!becomes(&pll[PLL_STATUS], ready))
        continue;
    pll[PLL_DIVIDERS] = 6 << 16 | 2 << 12;
    pll[PLL_POWER] &= ~(uint32_t)PLL_OUTPUT_OFF;
    clocks[SYSTEM_CONTROL] = FROM_PLL;
    (void)becomes(&clocks[SYSTEM_SELECTED], PLL_SELECTED);
    clocks[PERIPHERAL_CONTROL] = PERIPHERALS_ON; /* the processor's clock */
}

/* Of 16 samples a bit, in 1/64. */
static uint32_t divider_of(uint32_t baud)
{
    return (CLOCK_HZ * 4u + baud / 2u) / baud;
}

/* The divider holds when the line's form is written. */
static void set_divider(uint32_t divider)
{
    uart[UART_DIVIDER] = divider >> 6;
    uart[UART_FRACTION] = divider & 63u;
    uart[UART_LINE] = UART_8_BITS | UART_BUFFERS;
}

static void uart_start(void)
{
    set_divider(divider_of(BAUD));
    uart[UART_LEVELS] = 0; /* 4 of 32 bytes received */
    uart[UART_INTERRUPTS] = UART_RECEIVED | UART_QUIET | UART_OVERRUN;
    uart[UART_CONTROL] = UART_ON | UART_SEND | UART_RECEIVE;
}

/* A 64th of the least divider is 1.6 %. */
bool board_set_baud(uint32_t baud, bool now)
{
    uint32_t divider = divider_of(baud);

    if (divider < LEAST_DIVIDER || divider > GREATEST_DIVIDER)
        return false;
    if (now) {
        while (uart[UART_FLAGS] & UART_BUSY)
            continue;
        set_divider(divider);
    }
    return true;
}

void board_start(void)
{
    clock_start();
    take_out_of_reset(PINS | PADS | TIMER | UART0);
    watchdog[WATCHDOG_TICK] = TICK_ON | 12; /* a microsecond, for the timer */
    uart_start();
    pads[0] = PAD_4_MA;
    pads[1] = PAD_INPUT | PAD_PULL_UP; /* quiet while nothing is connected */
    pins[1] = FUNCTION_UART;           /* control of GP0 */
    pins[3] = FUNCTION_UART;           /* and of GP1 */
    enable_interrupt(UART0_INTERRUPT);
}

void board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (uart[UART_FLAGS] & UART_FULL)
            continue;
        uart[UART_DATA] = bytes[i];
    }
}

uint32_t board_clock_us(void)
{
    return timer[TIMER_LOW];
}
