CPU = -mcpu=cortex-m0 -mthumb -mfloat-abi=soft
BOARD_FLAGS = -DES_GROUP=16
BOARD_SOURCES = boards/microbit/board.c
