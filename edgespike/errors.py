"""The exceptions that edgespike raises for what a user or a device did.

Every error says what is wrong and where, and in ``hint`` what to do next. ``code``
is stable and meant for programs; ``exit_code`` is what the command line returns.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "DataError",
    "DeviceError",
    "EdgespikeError",
    "EventWarning",
    "MismatchError",
    "ModelError",
    "UnsupportedError",
    "UsageError",
]


class EdgespikeError(Exception):
    """Base of the family.

    Args:
        message: one line: what is wrong and where.
        hint: one line: what to do next; may be empty.
        code: stable kebab-case name, for programs.
    """

    exit_code = 1
    default_code = "error"

    def __init__(self, message: str, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code


class MismatchError(EdgespikeError):
    """Two results that must be equal are not."""

    default_code = "mismatch"


class UsageError(EdgespikeError):
    """Options or calls that contradict each other, or come in the wrong order."""

    exit_code = 2
    default_code = "usage"


class ModelError(EdgespikeError):
    """A model file that cannot be used: not a model, corrupted, newer, inconsistent."""

    exit_code = 3
    default_code = "model"


class UnsupportedError(ModelError):
    """A valid network with something that has no meaning here; lists all of it."""

    default_code = "unsupported"


class DataError(EdgespikeError):
    """Samples, calibration data or events that cannot be used."""

    exit_code = 3
    default_code = "data"


class DeviceError(EdgespikeError):
    """A port, a board or the link to it."""

    exit_code = 4
    default_code = "device"


class BudgetError(EdgespikeError):
    """Something does not fit: model, arena, board."""

    exit_code = 5
    default_code = "budget"


class EventWarning(UserWarning):
    """Something about a recording that its user should know; nothing failed."""
