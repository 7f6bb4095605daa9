/* The UART of Arm's MPS boards (CMSDK APB UART): one byte of buffer each way.
 * memory.h says where: UART_ADDRESS, UART_CLOCK_HZ, BAUD. board_write is here too. */
#ifndef CMSDK_UART_H
#define CMSDK_UART_H

void uart_start(void);

/* For the vector of the receive interrupt. */
void uart_received(void);

#endif
