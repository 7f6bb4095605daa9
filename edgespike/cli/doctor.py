"""``edgespike doctor``: find what is wrong with a port or a board, and say what to do."""

from __future__ import annotations

from pathlib import Path

import click

from edgespike.cli.options import INPUT_FILE, json_option
from edgespike.cli.output import print_json
from edgespike.errors import EdgespikeError
from edgespike.link.doctor import Finding, examine
from edgespike.modelfile import read_model_bytes


@click.command()
@click.argument("model", type=INPUT_FILE, required=False)
@click.option("--port", metavar="PORT", help="Look at this port only, and closely.")
@click.option(
    "--baud",
    type=click.IntRange(1),
    metavar="RATE",
    default=921600,
    show_default=True,
    help="Bits per second of a serial device.",
)
@json_option
def command(model: Path | None, port: str | None, baud: int, as_json: bool) -> None:
    """Find what is wrong with a port or a board; say whether MODEL fits it.

    Each thing looked at is a line "ok" or "problem", and each problem has a line
    "next" that says what to do. Looks for: missing ports and permissions, other
    programs on the port, silence, a wrong baud rate, things that are no board, old
    firmware, a bad line, a model or an arena too large, a missing QEMU. Nothing but
    HELLO is sent. The exit code is that of the first problem.

    \b
    Example:
      edgespike doctor
      edgespike doctor digits.esg --port /dev/ttyACM0
    """
    findings = []
    for finding in examine(port, baud, read_model_bytes(model) if model else None):
        findings.append(finding)
        if not as_json:
            print_finding(finding)
    problems = [finding.problem for finding in findings if finding.problem]
    if as_json:
        print_json({"findings": [describe(finding) for finding in findings], "problems": len(problems)})
    if problems:
        raise click.exceptions.Exit(problems[0].exit_code)


def print_finding(finding: Finding) -> None:
    """One line, and one more for what to do."""
    problem: EdgespikeError | None = finding.problem
    print(f"{'problem' if problem else 'ok':<8} {finding.message}", flush=True)
    if problem and problem.hint:
        print(f"{'next':<8} {problem.hint}", flush=True)


def describe(finding: Finding) -> dict[str, object]:
    """A finding as JSON values."""
    problem = finding.problem
    return {
        "ok": problem is None,
        "message": finding.message,
        "code": problem.code if problem else None,
        "hint": problem.hint if problem else None,
    }
