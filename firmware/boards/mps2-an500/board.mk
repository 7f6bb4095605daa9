CPU = -mcpu=cortex-m7 -mthumb -mfloat-abi=soft
BOARD_SOURCES = drivers/mps2.c drivers/cmsdk_uart.c
