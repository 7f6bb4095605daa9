/* The RP2040's second-stage bootloader: the first 256 bytes of flash, which the boot ROM
 * copies to RAM, checks (finish.py makes the checksum) and calls. It lets flash be read in
 * place, and starts the program behind it. Its code must run at any address: no calls, no
 * data but literals. */
#include <stdint.h>

/* The serial interface of flash (SSI). */
typedef struct flash_registers {
    volatile uint32_t control0;
    volatile uint32_t control1; /* further words of a read: none */
    volatile uint32_t enable;
    volatile uint32_t unused1[2];
    volatile uint32_t clock_divider;
    volatile uint32_t unused2[55];
    volatile uint32_t spi_control0;
} flash_registers;

enum { DATA_BITS_32 = 31 << 16, SEND_THEN_RECEIVE = 3 << 8 };
/* Every flash chip knows command 03h: one bit at a time, 24 bits of address, no pause. */
enum { COMMAND_READ = 0x03 << 24, COMMAND_BITS_8 = 2 << 8, ADDRESS_BITS_24 = 6 << 2 };

__attribute__((section(".boot2"), used, noreturn)) void second_stage(void);

void second_stage(void)
{
    flash_registers *flash = (flash_registers *)0x18000000u;
    volatile uint32_t *vector_table_offset = (volatile uint32_t *)0xE000ED08u;
    const volatile uint32_t *vectors = (const volatile uint32_t *)0x10000100u; /* read when flash can be */

    flash->enable = 0;
    flash->clock_divider = 4; /* 31 MHz when the processor has 125 */
    flash->control0 = DATA_BITS_32 | SEND_THEN_RECEIVE;
    flash->spi_control0 = COMMAND_READ | COMMAND_BITS_8 | ADDRESS_BITS_24;
    flash->control1 = 0;
    flash->enable = 1;
    *vector_table_offset = (uint32_t)(uintptr_t)vectors;
    __asm volatile("msr msp, %0\n\tbx %1" ::"r"(vectors[0]), "r"(vectors[1]) : "memory");
    __builtin_unreachable();
}
