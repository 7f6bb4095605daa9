"""``edgespike replay``: compute a recorded stream again and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgespike.cli.options import INPUT_FILE, Runner, json_option, runner_options
from edgespike.cli.output import print_fields, print_json, progress
from edgespike.cli.player import Player, Reply
from edgespike.errors import MismatchError
from edgespike.journal import BEGIN, END, READ, Journal
from edgespike.session import InferenceSession

Key = tuple[int, int]  # sample, time of the result


@click.command()
@click.argument("journal", type=INPUT_FILE)
@runner_options
@json_option
def command(journal: Path, runner: Runner, as_json: bool) -> None:
    """Compute again what JOURNAL holds, made by `edgespike stream --record`, and compare.

    The model and the events are in the journal. Scores must be equal, bit for bit, in every
    result without lost events.

    \b
    Example:
      edgespike replay yesterday.journal
    """
    with Journal(journal) as recorded:
        again = results_of(recorded, runner)
        outcome = compare(recorded, again)
    if as_json:
        print_json({"journal": str(journal), "backend": str(runner), **outcome})
    else:
        print_fields(
            [
                ("results", f"{outcome['results']:,} in the journal"),
                ("equal", f"{outcome['equal']:,}"),
                ("lost events", f"in {outcome['with_losses']:,} others, which were not compared"),
            ]
        )
    if outcome["different"]:
        first = outcome["first_different"]
        raise MismatchError(
            f"{outcome['different']:,} results are not what the journal says, the first at"
            f" {first['time_us']:,} us of recording {first['sample']}",
            "the journal was damaged, or one of the two versions of edgespike computes wrongly",
            "replay",
        )


def results_of(journal: Journal, runner: Runner) -> dict[Key, list[int]]:
    """Scores that the network gives now, by sample and time."""
    scores: dict[Key, list[int]] = {}

    def keep(replies: list[Reply]) -> None:
        scores.update({(number, result.time_us): result.scores.tolist() for number, result in replies})

    total = journal.about.get("events")
    with _open(journal, runner) as session, progress("replaying", total) as done:
        lane = Player(session, 1.0).lane
        sent = 0
        for call in journal.calls():
            if call.kind == BEGIN:
                lane.begin(call.sample)
            elif call.kind == END:
                keep(lane.end())
            elif call.kind == READ:
                keep(lane.read())
            else:
                keep(lane.send(call.events, call.until_us, 0.0))
                sent += len(call.events)
                done(sent)
        keep(lane.drain())
    return scores


def _open(journal: Journal, runner: Runner) -> InferenceSession:
    if runner.backend != "device":
        return InferenceSession(journal.model, runner.backend)
    return InferenceSession(journal.model, "device", port=runner.port, baud=runner.baud)


def compare(journal: Journal, again: dict[Key, list[int]]) -> dict[str, Any]:
    """How many results are equal, as JSON values."""
    whole = [result for result in journal.results if not result["lost"]]
    different = [row for row in whole if again.get((row["sample"], row["time_us"])) != row["scores"]]
    return {
        "results": len(journal.results),
        "equal": len(whole) - len(different),
        "different": len(different),
        "first_different": different[0] if different else None,
        "with_losses": len(journal.results) - len(whole),
        "about": journal.about,
    }
