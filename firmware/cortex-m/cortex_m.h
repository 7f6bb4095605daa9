/* What all Cortex-M processors have in common. */
#ifndef CORTEX_M_H
#define CORTEX_M_H

#include <stdint.h>

typedef void interrupt_handler(void);

/* Resets processor and peripherals. Memory keeps what it holds. */
void restart(void) __attribute__((noreturn));

static inline void enable_interrupt(uint32_t number)
{
    volatile uint32_t *set_enable = (volatile uint32_t *)0xE000E100u;
    set_enable[number / 32u] = 1u << number % 32u;
}

static inline void interrupts_off(void)
{
    __asm volatile("cpsid i" ::: "memory");
}

static inline void interrupts_on(void)
{
    __asm volatile("cpsie i" ::: "memory");
}

/* Sleeps until an interrupt is pending, also when interrupts are off. */
static inline void wait_for_interrupt(void)
{
    __asm volatile("dsb\n\twfi" ::: "memory");
}

#endif
