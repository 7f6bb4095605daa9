CPU = -mcpu=cortex-m0 -mthumb -mfloat-abi=soft
BOARD_SOURCES = boards/microbit/board.c
