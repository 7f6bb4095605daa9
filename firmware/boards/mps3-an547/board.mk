CPU = -mcpu=cortex-m55 -mthumb -mfloat-abi=soft
BOARD_SOURCES = boards/mps3-an547/board.c drivers/cmsdk_uart.c
