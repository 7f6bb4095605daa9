"""``edgespike boards``: what is at the ports of this machine."""

from __future__ import annotations

from typing import Any

import click

from edgespike.cli.options import json_option
from edgespike.cli.output import print_json, print_table
from edgespike.link.ports import PortReport, list_ports, look_at_all


@click.command()
@click.option(
    "--baud",
    type=click.IntRange(1),
    metavar="RATE",
    default=921600,
    show_default=True,
    help="Bits per second of serial devices.",
)
@json_option
def command(baud: int, as_json: bool) -> None:
    """List the ports of this machine, and the boards that answer there.

    All are asked at once, for some seconds at most. A port is sent one zero byte and
    HELLO, some 20 bytes, and nothing else; but opening a serial port restarts some
    boards, as any program that opens it does.

    \b
    Example:
      edgespike boards
      edgespike boards --baud 115200 --json
    """
    reports = look_at_all(list_ports(), baud)
    if as_json:
        print_json({"ports": [describe(report) for report in reports]})
        return
    rows = []
    for report in reports:
        info = report.info
        if info is None:
            rows.append((report.port, report.error.message if report.error else "", "", ""))
            continue
        model = f"{info.model_size:,} bytes, {info.model_crc:08x}" if info.model_size else "none"
        rows.append((report.port, info.name, ".".join(map(str, info.version)), model))
    print_table(("port", "board", "firmware", "model"), rows, names=4)


def describe(report: PortReport) -> dict[str, Any]:
    """A port as JSON values."""
    info, error = report.info, report.error
    return {
        "port": report.port,
        "description": report.description,
        "board": info.name if info else None,
        "firmware": ".".join(map(str, info.version)) if info else None,
        "protocol": ".".join(map(str, info.protocol)) if info else None,
        "model_size": info.model_size if info else None,
        "model_crc32": f"{info.model_crc:08x}" if info and info.model_size else None,
        "code": error.code if error else None,
        "message": error.message if error else None,
        "hint": error.hint if error else None,
    }
