"""Plays the scored worlds through a running bundle, with the API's default settings."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterable
from statistics import fmean, stdev
from typing import Protocol

from sagaforge.deployments.retrieval.interface import section_title
from sagaforge.evaluation.judge import Played, Verdict, judge, shares
from sagaforge.evaluation.worlds import Case, ScoredWorld
from sagaforge.schemas import Chunk, TurnRequest


class Bundle(Protocol):
    """What is needed of a bundle; `sagaforge.cli.client.Client` is one."""

    def upload(
        self, file: io.BytesIO, *, filename: str, world_id: str, license: str | None, overwrite: bool
    ) -> object: ...

    def play_turn(self, request: TurnRequest, key: str) -> Played:
        """Take a turn; a model's answer of which the bundle can make none is no error."""

    def chunk(self, world_id: str, chunk_id: str) -> Chunk: ...


# Called after each turn: the case, the turn, what it was judged.
OnTurn = Callable[[Case, Played, Verdict], None]


def play(bundle: Bundle, world: ScoredWorld, on_turn: OnTurn) -> dict[str, float]:
    """Upload a world (over an earlier one of its seed), send every message in a session of its own, and count.

    Raises what the bundle's client raises.
    """
    file = io.BytesIO(world.lore.encode())
    bundle.upload(file, filename="lore.md", world_id=world.world_id, license="CC0-1.0", overwrite=True)
    sections: dict[str, str] = {}
    verdicts = []
    for number, case in enumerate(world.cases):
        began = time.perf_counter()
        request = TurnRequest(world_id=world.world_id, message=case.message, seed=number)
        played = bundle.play_turn(request, uuid.uuid4().hex)
        seconds = time.perf_counter() - began
        told = [*played.first, *(played.turn.sentences if played.turn else [])]
        for chunk_id in {id for sentence in told for id in [*sentence.citations, *sentence.claimed]}:
            if chunk_id not in sections:
                sections[chunk_id] = section_title(bundle.chunk(world.world_id, chunk_id).metadata.section)
        verdicts.append(judge(played, case, world, sections, seconds))
        on_turn(case, played, verdicts[-1])
    return shares(verdicts)


def mean_and_spread(reports: Iterable[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Over seeds: the mean and the standard deviation (0 for one seed) of each share."""
    by_name: dict[str, list[float]] = {}
    for report in reports:
        for name, value in report.items():
            by_name.setdefault(name, []).append(value)
    return {
        name: {"mean": round(fmean(values), 3), "spread": round(stdev(values), 3) if len(values) > 1 else 0.0}
        for name, values in by_name.items()
    }
