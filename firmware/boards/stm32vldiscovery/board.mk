CPU = -mcpu=cortex-m3 -mthumb -mfloat-abi=soft
BOARD_SOURCES = boards/stm32vldiscovery/board.c drivers/stm32_usart.c
