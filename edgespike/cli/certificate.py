"""A model's certificate: what it claims, and whether that holds."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgespike.cli.failure import FAILED, about
from edgespike.cli.output import print_json, print_table, progress
from edgespike.convert import load_calibration
from edgespike.errors import DataError, ModelError
from edgespike.modelfile import read_model

__all__ = ["check_certificate"]

STATES = {True: "holds", False: "REFUTED", None: "not checked"}


def check_certificate(model: Path, source: Path | None, calibration: Path | None, as_json: bool) -> None:
    """Verifies the certificate of a model file and tells; a claim that does not hold is a failure."""
    from edgespike.convert.certificate import verify

    with about(model, ModelError):
        graph = read_model(model)
    samples = load_calibration(calibration) if calibration else None
    with about(model, ModelError), about(calibration, DataError), progress("proving again", 1.0) as done:
        found = verify(graph, source.read_bytes() if source else None, samples, done)
    refuted = [finding.claim for finding in found if finding.holds is False]
    if as_json:
        claims = [{"claim": row.claim, "holds": row.holds, "detail": row.detail} for row in found]
        print_json({"model": str(model), "refuted": refuted, "claims": claims})
    else:
        print_table(
            ["claim", "", "the certificate says"], [(r.claim, STATES[r.holds], r.detail) for r in found], 3
        )
    if refuted:
        print(f"error: {model}: the certificate does not hold: {', '.join(refuted)}", file=sys.stderr)
        print("hint: convert the network again, or give the files it was converted from", file=sys.stderr)
        raise click.exceptions.Exit(FAILED)
