"""``edgespike convert``: turn a trained ONNX or NIR network into a model file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from edgespike.cli.budget import BUDGET_OPTIONS, budget_of, budget_options, convert_within
from edgespike.cli.conversion import describe, show, show_exit
from edgespike.cli.options import (
    INPUT_FILE,
    duration,
    json_option,
    layer_choice,
    onnx_options,
    sensor,
)
from edgespike.cli.output import print_json, progress
from edgespike.convert import EventOptions, load_calibration, with_early_exit
from edgespike.errors import UsageError
from edgespike.modelfile import write_model, write_whole

HDF5 = b"\x89HDF\r\n\x1a\n"  # NIR files are HDF5
EVENT_OPTIONS = ("sensor", "slices", "polarities", "saturation", "event_scale", "tick")
ONNX_OPTIONS = ("levels", "shape", "scores", "fixed", *EVENT_OPTIONS, *BUDGET_OPTIONS)
NIR_OPTIONS = (
    "framework",
    "dt",
    "reset",
    "compare",
    "decay",
    "gain",
    "current",
    "max_spikes",
    "readout",
    "initial",
)


class Grouped(click.Command):
    """Lists options under the headings that their help begins with."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings = {
            "Options": "",
            "ONNX": "",
            "Budget": " (for ONNX networks: searches levels and weights)",
            "Events": " (for ONNX networks that count them)",
            "NIR": "",
        }
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in headings}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option):
                name, text = parameter.get_help_record(ctx) or ("", "")
                heading, _, rest = text.partition(": ")
                known = heading in groups
                groups[heading if known else "Options"].append((name, rest if known else text))
        for heading, rows in groups.items():
            with formatter.section(heading + headings[heading]):
                formatter.write_dl(rows)


@click.command(cls=Grouped)
@click.argument("network", type=INPUT_FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.esg",
    help="The model file to write.",
)
@click.option("--calibration", type=INPUT_FILE, metavar="FILE.npz", help="Typical inputs x, and labels y.")
@click.option(
    "--report",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Write what came of it as a page with plots.",
)
@click.option("--classes", metavar="A,B,...", help="Names of the scores.")
@click.option("--window", type=duration, metavar="TIME", help="Of a stream, for one result, such as 300ms.")
@click.option(
    "--early-exit",
    type=float,
    metavar="POINTS",
    help="Stop before the end where that costs at most so many points of accuracy.",
)
@click.option(
    "--levels",
    multiple=True,
    type=layer_choice,
    metavar="[LAYER=]N",
    help="ONNX: Levels of an activation, 1 to 255, of all layers but the input, or of one.  [default: 255]",
)
@click.option(
    "--weights",
    multiple=True,
    type=layer_choice,
    metavar="[LAYER=]N",
    help="Bits of a weight, 4, 8, or 16 (as 8, faster on Cortex-M4 and M7), of all layers or of one.  "
    "[default: 8]",
)
@onnx_options
@budget_options
@click.option("--sensor", type=sensor, metavar="WxH", help="Events: Size of the sensor, such as 34x34.")
@click.option(
    "--slices", type=click.IntRange(1), metavar="N", help="Events: Parts of the window.  [default: 1]"
)
@click.option(
    "--polarities",
    type=click.IntRange(1, 2),
    metavar="N",
    help="Events: 2 counts ON and OFF apart, 1 together.  [default: 2]",
)
@click.option(
    "--saturation",
    type=click.IntRange(1, 32767),
    metavar="N",
    help="Events: Greatest count.  [default: as calibrated]",
)
@click.option(
    "--event-scale", type=float, metavar="X", help="Events: Network input for one event.  [default: 1]"
)
@click.option("--tick", type=duration, metavar="TIME", help="Events: Time step.  [default: a slice]")
@click.option(
    "--from",
    "framework",
    metavar="NAME",
    help="NIR: Where it was trained: snntorch, norse, sinabs, rockpool, spikingjelly, lava or exact.",
)
@click.option("--dt", type=duration, metavar="TIME", help="NIR: Time step of the training, such as 1ms.")
@click.option("--reset", metavar="KIND", help="NIR: What a spike does to v: zero, value, subtract, none, ...")
@click.option("--compare", metavar="KIND", help="NIR: Spikes when v > threshold (gt) or v >= threshold (ge).")
@click.option("--decay", metavar="KIND", help="NIR: How v decays: exact or euler.  [default: exact]")
@click.option(
    "--gain", metavar="KIND", help="NIR: Of the input: exact, euler or none.  [default: as --decay]"
)
@click.option("--current", metavar="KIND", help="NIR: What v takes in of a synaptic current: new or old.")
@click.option("--readout", metavar="KIND", help="NIR: Scores: spikes, first, membrane, greatest.")
@click.option("--initial", metavar="KIND", help="NIR: Where v begins: zero, leak or reset.")
@click.option("--max-spikes", type=int, metavar="N", help="NIR: Most spikes of a neuron in a tick.")
@json_option
def command(
    network: Path,
    output: Path,
    calibration: Path | None,
    page: Path | None,
    classes: str | None,
    early_exit: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn NETWORK, a trained .onnx or .nir file, into a model file.

    ONNX networks need calibration data: some hundred typical inputs. With --sensor and
    --window the network takes events, and counts them into the input that it was
    trained on: (slices x polarities, height, width).

    NIR networks need --dt and --from, or --reset and --compare: the file leaves them
    open. They may be calibrated with inputs of shape (samples, ticks, ...).

    \b
    Example:
      edgespike convert digits.onnx -o digits.esg --calibration digits.npz
      edgespike convert digits.onnx -o small.esg --calibration digits.npz \\
          --levels 15 --weights 4 --weights conv1=8
      edgespike convert digits.onnx -o small.esg --calibration digits.npz \\
          --ram 64k --flash 256k --max-drop 0.5
      edgespike convert dvs.onnx -o dvs.esg --calibration counts.npz \\
          --sensor 34x34 --window 300ms --slices 3
      edgespike convert lif.nir -o lif.esg --dt 1ms --reset zero --compare gt
    """
    for file in (output, page):
        if file and not file.absolute().parent.is_dir():
            raise UsageError(f"{file}: there is no folder {file.parent}", "make it first")
    if page:
        from edgespike.convert.page import report_page  # needs the report extra: say so before the work
    is_nir = network.open("rb").read(len(HDF5)) == HDF5
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    for name in {"levels", "weights", "fixed"} & set(given):
        given[name] = dict(given[name])
    wrong = [name for name in given if name in (ONNX_OPTIONS if is_nir else NIR_OPTIONS)]
    if wrong:
        named = ", ".join("--" + name.replace("_", "-") for name in wrong)
        raise UsageError(f"{named}: not for {'NIR' if is_nir else 'ONNX'} networks", "leave it out")
    names = classes.split(",") if classes else None
    with progress("converting", 1.0) as tell:
        samples = load_calibration(calibration) if calibration else None
        common: dict[str, Any] = {"classes": names, "progress": lambda step, share: tell(share, step)}
        if is_nir:
            from edgespike.convert.spiking import convert_nir  # here and below: they need the extras

            graph, report = convert_nir(network, calibration=samples, **given, **common)
        elif samples is None:
            raise UsageError("an ONNX network needs --calibration", "give an .npz with some hundred inputs x")
        else:
            from edgespike.convert import convert_onnx

            given["output"] = given.pop("scores", None)
            events = event_options(given)
            if set(BUDGET_OPTIONS) & set(given):
                budget = budget_of(given, network, events)
                graph, report = convert_within(budget, network, samples, events=events, **given, **common)
            else:
                graph, report = convert_onnx(network, samples, events=events, **given, **common)
    exit_report = None
    if early_exit is not None:
        if samples is None:
            raise UsageError("--early-exit needs --calibration", "give an .npz with inputs x and labels y")
        with progress("choosing the early exit", 1.0) as tell:
            graph, exit_report = with_early_exit(graph, samples, early_exit, tell)
    write_model(graph, output)
    if page:
        write_whole(page, report_page(report, network.name, output.name).encode())
    for warning in (*report.warnings, *(exit_report.warnings if exit_report else ())):
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json({"network": str(network), "model": str(output), **describe(report, exit_report)})
    else:
        show(report, output, "float network" if is_nir else "onnxruntime")
        if exit_report:
            show_exit(exit_report)


def event_options(given: dict[str, Any]) -> EventOptions | None:
    """The event front end that the options describe, which are taken out; None without any."""
    chosen = {name: given.pop(name) for name in (*EVENT_OPTIONS, "window") if name in given}
    if not chosen:
        return None
    if "sensor" not in chosen or "window" not in chosen:
        raise UsageError("events need both --sensor and --window", "such as --sensor 34x34 --window 300ms")
    width, height = chosen.pop("sensor")
    for name in {"window", "tick"} & set(chosen):
        chosen[f"{name}_us"] = round(1e6 * chosen.pop(name))
    return EventOptions(height, width, **chosen)
