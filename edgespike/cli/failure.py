"""Errors on the command line: one clear line, a hint, an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import platform
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

import edgespike
from edgespike.errors import EdgespikeError, EventWarning

FAILED = 1
INTERRUPTED = 130
OPTIONAL = {  # package: the extra that has it
    **dict.fromkeys(("nir", "onnx", "onnxruntime", "onnxslim"), "convert"),
    **dict.fromkeys(("jinja2", "matplotlib"), "report"),
}


@dataclass(frozen=True)
class Failure:
    """What a user is told; ``code`` is stable and meant for programs."""

    code: str
    message: str
    hint: str
    exit_code: int


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Lets what is odd about a recording be said in one line on stderr, once for each recording."""
    with warnings.catch_warnings():
        show = warnings.showwarning
        warnings.simplefilter("default", EventWarning)

        def say(message: Warning | str, category: type[Warning], *others: Any, **named: Any) -> None:
            if issubclass(category, EventWarning):
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, *others, **named)

        warnings.showwarning = say
        yield


@contextmanager
def about(what: object, family: type[EdgespikeError]) -> Iterator[None]:
    """Puts a file's name before the message of an error that does not name it."""
    try:
        yield
    except family as error:
        if str(what) not in error.message:
            error.message = f"{what}: {error.message}"
        raise


def report_error(error: Exception, as_json: bool) -> int:
    """Tells the user on stderr, and on stdout too if JSON was asked for; returns the exit code."""
    if os.environ.get("EDGESPIKE_DEBUG"):
        traceback.print_exception(error)
    failure = describe(error)
    print(f"error: {failure.message}", file=sys.stderr)
    if failure.hint:
        print(f"hint: {failure.hint}", file=sys.stderr)
    if as_json:
        fields = {"code": failure.code, "message": failure.message, "hint": failure.hint}
        try:
            print(json.dumps({"error": {**fields, "exit_code": failure.exit_code}}), flush=True)
        except BrokenPipeError:
            silence_stdout()
    return failure.exit_code


def describe(error: Exception) -> Failure:
    """What to tell the user about an exception."""
    if isinstance(error, EdgespikeError):
        return Failure(error.code, error.message, error.hint, error.exit_code)
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "edgespike"
        return Failure("usage", error.format_message(), f"see {path} --help", error.exit_code)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return Failure("file", f"{place}{error.strerror}", "", FAILED)
    if isinstance(error, MemoryError):
        return Failure("memory", "this machine has not enough memory", "use less data (--limit)", FAILED)
    if isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
        return Failure(
            "missing-package",
            f"this needs the Python package {error.name}, which is not installed",
            f'pip install "edgespike[{OPTIONAL[error.name]}]"',
            FAILED,
        )
    versions = f"edgespike {edgespike.__version__}, Python {platform.python_version()}, {platform.machine()}"
    return Failure(
        "internal",
        f"internal error: {type(error).__name__}: {error} ({versions})",
        "this is a bug in edgespike; please report it with the output of EDGESPIKE_DEBUG=1",
        FAILED,
    )


def silence_stdout() -> None:
    """After a broken pipe: lets the interpreter close stdout without complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
