"""Finishes the Pico's program: the checksum of its bootloader, and a UF2 file to drop on its drive.

    python3 finish.py arm-none-eabi- edgespike.elf

The boot ROM starts flash only if bytes 252 to 255 are the CRC-32 of those before them (polynomial
04C11DB7, not reflected, from FFFFFFFF, not inverted). UF2: https://github.com/microsoft/uf2
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

FLASH = 0x10000000
RP2040 = 0xE48BFF56  # UF2's number of this family of chips
BLOCK = 256


def checksum(data: bytes) -> int:
    """CRC-32 as the boot ROM computes it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc >> 31 else crc << 1) & 0xFFFFFFFF
    return crc


def uf2(image: bytes) -> bytes:
    """An image of flash as blocks of 512 bytes that say where their 256 bytes belong."""
    image += bytes(-len(image) % BLOCK)
    blocks = []
    for number in range(len(image) // BLOCK):
        at = number * BLOCK
        fields = (0x0A324655, 0x9E5D5157, 0x2000, FLASH + at, BLOCK, number, len(image) // BLOCK, RP2040)
        data = image[at : at + BLOCK]
        blocks.append(struct.pack("<8I476sI", *fields, data, 0x0AB16F30))
    return b"".join(blocks)


def main() -> None:
    cross, elf = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as name:
        boot2, image = Path(name, "boot2"), Path(name, "image")
        subprocess.run([f"{cross}objcopy", "--dump-section", f".boot2={boot2}", elf], check=True)
        code = boot2.read_bytes()[:252]
        boot2.write_bytes(code + struct.pack("<I", checksum(code)))
        subprocess.run([f"{cross}objcopy", "--update-section", f".boot2={boot2}", elf], check=True)
        subprocess.run([f"{cross}objcopy", "--output-target", "binary", elf, image], check=True)
        elf.with_suffix(".uf2").write_bytes(uf2(image.read_bytes()))


if __name__ == "__main__":
    main()
