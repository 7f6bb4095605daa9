CPU = -mcpu=cortex-m4 -mthumb -mfloat-abi=soft
BOARD_SOURCES = drivers/mps2.c drivers/cmsdk_uart.c
