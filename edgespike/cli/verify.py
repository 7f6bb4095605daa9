"""``edgespike verify``: the golden self-test on the board itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgespike.boards import BOARDS
from edgespike.cli.failure import about
from edgespike.cli.options import INPUT_FILE, baud_option, json_option
from edgespike.cli.output import print_fields, print_json, progress
from edgespike.errors import MismatchError, ModelError
from edgespike.link import DeviceClient, HelloInfo, connect
from edgespike.link.messages import SelfTestReport
from edgespike.modelfile import decode_model, read_model_bytes


@click.command()
@click.argument("model", type=INPUT_FILE, required=False)
@click.option(
    "--port",
    metavar="PORT",
    required=True,
    help="The board: a serial device, socket://HOST:PORT, emulated or qemu.",
)
@baud_option
@json_option
def command(model: Path | None, port: str, baud: int, as_json: bool) -> None:
    """Check that the board computes every bit as it must.

    The board checks the model that it holds, or MODEL, an .esg file that it is given
    first, runs the golden self-test in it, and compares the digest of the scores.

    \b
    Example:
      edgespike verify --port /dev/ttyACM0
      edgespike verify digits.esg --port emulated
    """
    client = connect(port, baud)
    try:
        expected = give(client, model) if model else None
        info = client.info
        report = client.self_test()
    finally:
        client.close()
    check(port, report, expected)
    fields = describe(port, info, report)
    if as_json:
        print_json(fields)
    else:
        show(fields)


def give(client: DeviceClient, path: Path) -> int | None:
    """Uploads a model; the digest that its self-test expects."""
    data = read_model_bytes(path)
    with about(path, ModelError), progress(f"uploading to {client.name}", len(data)) as done:
        test = decode_model(data).self_test
        client.upload(data, lambda sent, _: done(sent))
    return test.digest if test else None


def check(port: str, report: SelfTestReport, expected: int | None) -> None:
    """Raises unless the test was run and gave what the model, and the file, expect."""
    if report.events == 0:
        hint = "convert the network again: edgespike convert writes a self-test into the model"
        raise ModelError(f"the model on the board at {port} has no self-test", hint, "no-self-test")
    wanted = report.expected if expected is None else expected
    if report.status < 0 or report.given != wanted:
        hint = "do not trust this board: check its clock and power supply, and that its firmware is unchanged"
        message = f"the board at {port} gave digest {report.given:08x}, expected {wanted:08x}"
        raise MismatchError(message, hint, "self-test")


def describe(port: str, info: HelloInfo, report: SelfTestReport) -> dict[str, Any]:
    """What was found as JSON values."""
    return {
        "port": port,
        "board": info.name,
        "core": next((board.core for board in BOARDS if board.name == info.name), None),
        "firmware": ".".join(map(str, info.version)),
        "protocol": ".".join(map(str, info.protocol)),
        "model_size": info.model_size,
        "model_crc32": f"{info.model_crc:08x}",
        "source_sha256": info.source_hash.hex(),
        "plan": info.plan,
        "events": report.events,
        "digest": f"{report.given:08x}",
        "passed": True,
    }


def show(fields: dict[str, Any]) -> None:
    """The same for people."""
    core = f", {fields['core']}" if fields["core"] else ""
    print_fields(
        [
            ("board", f"{fields['board']}{core}"),
            ("firmware", f"edgespike {fields['firmware']}, link protocol {fields['protocol']}"),
            (
                "model",
                f"{fields['model_size']:,} bytes, CRC-32 {fields['model_crc32']}, plan {fields['plan']}",
            ),
            ("converted from", f"SHA-256 {fields['source_sha256']}"),
            ("self-test", f"passed: {fields['events']:,} events, digest {fields['digest']} as expected"),
        ]
    )
