CPU = -mcpu=cortex-m4 -mthumb -mfloat-abi=soft
