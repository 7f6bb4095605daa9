CPU = -mcpu=cortex-m3 -mthumb -mfloat-abi=soft
BOARD_SOURCES = drivers/mps2.c drivers/cmsdk_uart.c
