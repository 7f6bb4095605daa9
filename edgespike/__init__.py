"""Exact event-driven inference for small devices.

Heavy parts (conversion, links) are imported where they are used, so that importing
edgespike on a Raspberry Pi takes a moment.
"""

from typing import TYPE_CHECKING, Any

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
    "InferenceSession",
    "MismatchError",
    "ModelError",
    "Result",
    "UnsupportedError",
    "UsageError",
    "__version__",
]

if TYPE_CHECKING:
    from edgespike.session import InferenceSession, Result


def __getattr__(name: str) -> Any:
    """Import the session, and NumPy with it, when it is first asked for."""
    if name in ("InferenceSession", "Result"):
        from edgespike import session

        return getattr(session, name)
    raise AttributeError(f"module 'edgespike' has no attribute {name!r}")
