"""``edgespike compare``: a spiking network's spikes beside those of its original."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgespike.cli.failure import about
from edgespike.cli.options import INPUT_FILE, INPUT_PATH, json_option
from edgespike.cli.output import percent, print_fields, print_json, print_table, progress
from edgespike.cli.samples import find_samples
from edgespike.errors import DataError, ModelError, UsageError
from edgespike.session import InferenceSession

SHOWN = 5  # explanations


@click.command()
@click.argument("model", type=INPUT_FILE)
@click.argument("network", type=INPUT_FILE)
@click.argument("data", type=INPUT_PATH)
@click.option(
    "--with",
    "framework",
    metavar="NAME",
    required=True,
    help="What runs the original: snntorch, norse, sinabs, spikingjelly, rockpool; or float.",
)
@click.option(
    "--original",
    metavar="FILE.py:FUNCTION",
    help="What returns the torch module.  [default: the framework's own import of NETWORK]",
)
@click.option("--limit", type=click.IntRange(1), default=4, show_default=True, help="Use so many samples.")
@json_option
def command(
    model: Path,
    network: Path,
    data: Path,
    framework: str,
    original: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Run MODEL, an .esg file, beside the NETWORK.nir that it was made from.

    The original runs in the framework that it was trained in, if that is installed: the
    torch module that --original returns, whose parts are named as the nodes of NETWORK,
    or else what the framework itself makes of NETWORK. With float it is this program's
    own float network. DATA are samples or event recordings, as for `edgespike run`.

    Shows by population how many spikes there are, in how many neuron-steps they agree and
    where they part; and which setting of the profile, changed alone, would explain it.

    \b
    Example:
      edgespike compare net.esg net.nir x.npz --with snntorch
      edgespike compare net.esg net.nir x.npz --with norse --original net.py:build
    """
    with about(model, ModelError):
        session = InferenceSession(model)
    if session.graph.source_hash != hashlib.sha256(network.read_bytes()).digest():
        raise ModelError(f"{model} was not made from {network}", "give the NIR file that was converted")
    if framework == "float" and original:
        raise UsageError("--original goes with a framework, not with float", "leave out one of them")
    samples = [sample.load() for sample in find_samples([data], session)[:limit]]
    if not samples:
        raise DataError(f"{data}: no samples", "give at least one", "data-empty")
    found = compare(session, network, [frames(session, sample) for sample in samples], framework, original)
    found = {"model": str(model), "network": str(network), "with": framework, **found}
    if as_json:
        print_json(found)
    else:
        show(found)


def frames(session: InferenceSession, content: NDArray[Any]) -> NDArray[np.float64]:
    """A sample as (ticks, *input shape); of an event recording, how many events came."""
    info = session.graph.metadata["input"]
    if not content.dtype.names:
        return np.asarray(content, np.float64).reshape(-1, *info["shape"])
    height, width, channels = session.graph.populations[0].shape
    elapsed = (content["t"] - content["t"][0]) // session.tick_us if len(content) else content["t"]
    counts = np.zeros((int(elapsed.max(initial=0)) + 1, channels, height, width))
    np.add.at(counts, (elapsed, content["p"], content["y"], content["x"]), 1)
    return counts.reshape(len(counts), *info["shape"])


def compare(
    session: InferenceSession,
    path: Path,
    samples: list[NDArray[np.float64]],
    framework: str,
    function: str | None,
) -> dict[str, Any]:
    """Runs all of them, as JSON values."""
    from edgespike.convert import divergence
    from edgespike.convert.exporters import put_right
    from edgespike.convert.originals import load_function, load_nir, record
    from edgespike.importers.nir import read_nir

    graph = session.graph
    profile, network = divergence.profile_of(graph), read_nir(path)
    height, width, channels = graph.populations[0].shape
    real = [np.moveaxis(sample.reshape(len(sample), channels, height, width), 1, -1) for sample in samples]
    right, notes = put_right(network, profile)
    floats = [divergence.float_spikes(right, profile, sample) for sample in real]
    if framework == "float":
        originals = floats
    else:
        module = load_function(function) if function else load_nir(framework, path, profile.dt)
        originals = [record(framework, module, network, sample) for sample in samples]
        if not originals[0]:
            raise UsageError(
                "no part of the original is named like a population of the network: "
                + ", ".join(p.name for p in network.populations if p.neuron),
                "name the parts of the module as the exporter did",
                "original",
            )
    with progress("running the model", len(samples)) as done:
        models = []
        for sample in samples:
            models.append(divergence.model_spikes(graph, session.sample_events(sample), len(sample)))
            done(len(models))
    with progress("looking for an explanation", 1.0) as done:
        explanations = divergence.explain(network, profile, real, originals, done)
    in_float = {row.name: row for row in divergence.differences(originals, floats)}
    return {
        "samples": len(samples),
        "agreement": divergence.agreement(originals, models),
        "agreement_float": divergence.agreement(originals, floats),
        "populations": [
            {
                "name": row.name,
                "neurons": row.neurons,
                "spikes_original": row.spikes[0],
                "spikes": row.spikes[1],
                "agreement": row.agreement,
                "agreement_float": in_float[row.name].agreement,
                "first_tick": row.first_tick,
                "first_tick_float": in_float[row.name].first_tick,
            }
            for row in divergence.differences(originals, models)
        ],
        "explanations": [asdict(row) for row in explanations],
        "put_right": notes,
    }


def show(found: dict[str, Any]) -> None:
    """Prints a comparison at 80 columns."""
    print_table(
        [
            "population",
            "spikes\noriginal",
            "spikes\nhere",
            "same",
            "first\ntick",
            "float\nsame",
            "first\ntick",
        ],
        [
            (
                row["name"],
                f"{row['spikes_original']:,}",
                f"{row['spikes']:,}",
                percent(row["agreement"]),
                "-" if row["first_tick"] is None else row["first_tick"],
                percent(row["agreement_float"]),
                "-" if row["first_tick_float"] is None else row["first_tick_float"],
            )
            for row in found["populations"]
        ],
    )
    print()
    print_fields(
        [
            ("original", f"{found['with']}, {found['samples']} samples"),
            ("same", f"{percent(found['agreement'])} of neuron-steps"),
            ("float network", f"{percent(found['agreement_float'])} of neuron-steps"),
            *(("put right", line) for line in found["put_right"]),
        ]
    )
    if found["explanations"]:
        print("\nThe float network would agree more, up to where they part, with\n")
        print_table(
            ["setting", "value", "same"],
            [
                (row["setting"], row["value"], percent(row["agreement"]))
                for row in found["explanations"][:SHOWN]
            ],
            names=2,
        )
