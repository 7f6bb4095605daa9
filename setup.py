"""Builds the extension modules from the C core; everything else is in pyproject.toml."""

import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
CORE = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "edgespike/core").glob("*.c"))
PC = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "edgespike/pc").glob("*.c"))
SENSOR = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "edgespike/core/sensor").glob("*.c"))
HEADERS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "edgespike").rglob("*.h"))
FLAGS = ["-std=c99", "-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=off"]  # as NumPy rounds
FLAGS = [] if sys.platform == "win32" else FLAGS


def extension(name: str, sources: list[str], *macros: tuple[str, str]) -> Extension:
    return Extension(
        f"edgespike.{name}",
        [f"edgespike/{name}.pyx", *sources],
        include_dirs=["edgespike/core", "edgespike/pc"],
        depends=HEADERS,
        extra_compile_args=FLAGS,
        define_macros=[("Py_LIMITED_API", "0x030B0000"), *macros],
        py_limited_api=True,
    )


setup(
    ext_modules=cythonize(
        [
            extension("_core", [*CORE, *PC], ("ES_PC", "1")),
            extension("_link", CORE),
            extension("_sensor", SENSOR),
        ],
        build_dir="build/cython",
        language_level=3,
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
