CPU = -mcpu=cortex-m0plus -mthumb -mfloat-abi=soft
BOARD_FLAGS = -DES_GROUP=16
BOARD_SOURCES = boards/pico/board.c boards/pico/boot2.c
# Checksum of the second-stage bootloader; edgespike.uf2 beside the ELF.
FINISH = python3 boards/pico/finish.py $(CROSS)
