/* USART1 of STM32F1, F2 and F4. memory.h says where: UART_ADDRESS, BAUD. board_write is here too. */
#ifndef STM32_USART_H
#define STM32_USART_H

#include <stdint.h>

/* Its peripheral clock has clock_hz, is on, and its pins are set. */
void usart_start(uint32_t clock_hz);

/* For the vector of interrupt 37. */
void usart_received(void);

#define USART1_INTERRUPT 37

#endif
