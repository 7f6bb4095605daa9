"""The frameworks that these tests compare with; requirements.txt says how to install them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest


@pytest.fixture
def networks(need: Callable[[object, str], None]) -> Callable[[str], Any]:
    """``networks(framework)``: the module random_networks, if that framework is installed."""

    def load(framework: str) -> Any:
        for name in ("torch", "nirtorch", framework):
            need(find_spec(name), f"{name} is not installed (see tests/frameworks/requirements.txt)")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        return importlib.import_module("random_networks")

    return load
