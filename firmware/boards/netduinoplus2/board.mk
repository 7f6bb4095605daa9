CPU = -mcpu=cortex-m4 -mthumb -mfloat-abi=soft
BOARD_SOURCES = boards/netduinoplus2/board.c drivers/stm32_usart.c
