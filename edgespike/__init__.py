"""Exact event-driven inference for small devices.

Heavy parts (conversion, links) are imported where they are used, so that importing
edgespike on a Raspberry Pi takes a moment.
"""

from edgespike.errors import (
    BudgetError,
    DataError,
    DeviceError,
    EdgespikeError,
    MismatchError,
    ModelError,
    UnsupportedError,
    UsageError,
)

__version__ = "0.1.0"

__all__ = [
    "BudgetError",
    "DataError",
    "DeviceError",
    "EdgespikeError",
    "MismatchError",
    "ModelError",
    "UnsupportedError",
    "UsageError",
    "__version__",
]
