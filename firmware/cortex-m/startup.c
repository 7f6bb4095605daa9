/* From reset to main, for every Cortex-M: vectors, memory, and what faults do. */
#include "cortex_m.h"
#include "board.h"

#include <string.h>

int main(void);

/* From the linker script. */
extern uint32_t stack_top[];
extern uint8_t data_begin[], data_end[], data_load[], bss_begin[], bss_end[];

void restart(void)
{
    volatile uint32_t *application_interrupt_and_reset = (volatile uint32_t *)0xE000ED0Cu;

    *application_interrupt_and_reset = 0x05FA0004u;
    for (;;)
        __asm volatile("");
}

void reset_handler(void) __attribute__((noreturn));

void reset_handler(void)
{
    memcpy(data_begin, data_load, (size_t)(data_end - data_begin));
    memset(bss_begin, 0, (size_t)(bss_end - bss_begin));
    main();
    restart();
}

/* A fault restarts the board: the host sees another boot epoch and says so. */
static void fault_handler(void)
{
    restart();
}

static void ignore_handler(void)
{
}

/* For boards that do not use it. */
__attribute__((weak)) void systick_handler(void)
{
}

/* Counted in memory that a restart leaves alone. After power-up it holds
 * whatever it holds, which is another number than before. */
uint32_t board_boot_epoch(void)
{
    static uint32_t starts __attribute__((section(".survives")));
    return ++starts;
}

typedef struct vector_table {
    uint32_t *stack;
    interrupt_handler *handlers[15];
} vector_table;

__attribute__((section(".vectors"), used)) static const vector_table vectors = {
    stack_top,
    {
        reset_handler,
        ignore_handler, /* NMI */
        fault_handler,  /* hard fault */
        fault_handler,  /* memory management */
        fault_handler,  /* bus */
        fault_handler,  /* usage */
        0, 0, 0, 0,
        ignore_handler, /* SVCall */
        ignore_handler, /* debug monitor */
        0,
        ignore_handler, /* PendSV */
        systick_handler,
    },
};
