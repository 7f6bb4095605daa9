CPU = -mcpu=cortex-m3 -mthumb -mfloat-abi=soft
BOARD_FLAGS = -DES_GROUP=16
BOARD_SOURCES = boards/stm32vldiscovery/board.c drivers/stm32_usart.c
