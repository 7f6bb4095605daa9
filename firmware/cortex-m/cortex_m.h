/* What all Cortex-M processors have in common. */
#ifndef CORTEX_M_H
#define CORTEX_M_H

#include <stdbool.h>
#include <stdint.h>

typedef void interrupt_handler(void);

/* Resets processor and peripherals. Memory keeps what it holds. */
void restart(void) __attribute__((noreturn));

/* For the vector of the SysTick timer: a board that uses it has its own. */
void systick_handler(void);

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

/* Waits until all bits of the mask are set; false if they are not after a moment. */
static inline bool becomes(const volatile uint32_t *bits, uint32_t mask)
{
    for (uint32_t i = 0; i < 100000u; i++)
        if ((*bits & mask) == mask)
            return true;
    return false;
}

/* Makes microseconds of a counter of clock cycles that wraps around at 2^32. All zero to begin with. */
typedef struct microsecond_clock {
    uint32_t before;
    uint32_t cycles;
    uint32_t microseconds;
} microsecond_clock;

static inline uint32_t microseconds(microsecond_clock *clock, uint32_t now, uint32_t cycles_in_one)
{
    clock->cycles += now - clock->before;
    clock->before = now;
    clock->microseconds += clock->cycles / cycles_in_one;
    clock->cycles %= cycles_in_one;
    return clock->microseconds;
}

#endif
