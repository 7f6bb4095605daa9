"""The command line: one thin module per verb, all on the public API.

Results go to stdout, progress and errors to stderr. Exit codes are in docs/cli.md.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib import import_module

import click

import edgespike
from edgespike.cli.failure import INTERRUPTED, plain_warnings, report_error, silence_stdout

__all__ = ["main"]

VERBS = {
    "check": "Look at a network to convert, or a model's certificate.",
    "convert": "Turn a trained ONNX or NIR network into a model file.",
    "inspect": "Check a model file and show what is in it.",
    "fit": "Say what a model takes of a board, before flashing.",
    "run": "Classify images or event recordings.",
    "eval": "Measure accuracy and cost on labelled data.",
    "bench": "Time a model on this machine.",
    "compare": "Find where a spiking network parts from its original.",
    "stream": "Classify a live source, or recordings in real time.",
    "replay": "Compute a recorded stream again and compare.",
    "events": "Show what is in an event recording.",
    "convert-events": "Write an event recording in another format.",
    "verify": "Run a model's self-test on a board.",
    "boards": "List the ports and the boards that answer there.",
    "doctor": "Find what is wrong with a port or a board.",
    "export": "Write a model and what runs it as C sources.",
    "demo": "Do the whole job on what the package brings along.",
}


class Verbs(click.Group):
    """Imports a verb's module only when the verb is used, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = import_module(f"edgespike.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(edgespike.__version__, prog_name="edgespike", message="%(prog)s %(version)s")
def commands() -> None:
    """Exact event-driven inference for small devices.

    Converts trained networks into integer spiking graphs and runs them, event by
    event, on this machine or on a board.

    \b
    Example:
      edgespike convert net.onnx -o net.esg --calibration data.npz
      edgespike eval net.esg data.npz
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line (``sys.argv`` unless given) and returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what a terminal cannot show is no reason to fail
    try:
        with plain_warnings(), commands.make_context("edgespike", arguments) as context:
            commands.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as finished:  # --help and --version
        return finished.exit_code
    except BrokenPipeError:
        silence_stdout()  # the reader has seen enough, as in `edgespike inspect ... | head`
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return report_error(error, as_json="--json" in arguments)
    return 0
