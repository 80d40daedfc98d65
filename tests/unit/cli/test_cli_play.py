"""`holodeck play`: scripted games through a pipe, and one on a pseudo-terminal."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest

from sagaforge.cli.client import Client, Patience
from sagaforge.cli.failures import CliError
from sagaforge.schemas import TurnRequest
from tests.support.scripted_bundle import (
    DROP_AFTER_COMMIT,
    HANG,
    LIGHT,
    LORE,
    STATE,
    TIDE,
    Bundle,
    Terminal,
    document,
    holodeck,
    problem,
    serving,
)


@pytest.fixture(scope="module")
def served() -> Iterator[Bundle]:
    """One server for the module: uvicorn takes its time to start and stop."""
    with serving() as scripted:
        yield scripted


@pytest.fixture
def bundle(served: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    served.reset()
    monkeypatch.setenv("SAGAFORGE_URL", served.url)
    monkeypatch.delenv("SAGAFORGE_API_KEY", raising=False)
    return served


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between resends, recorded instead of slept."""
    recorded: list[float] = []
    monkeypatch.setattr("sagaforge.cli.client.sleep", recorded.append)
    return recorded


def test_three_piped_turns_with_lore_and_a_numbered_choice(bundle: Bundle) -> None:
    shown = holodeck(
        "play", "harbour", "--seed", "5", script="hello\n/lore\n2\n/state\n\nI look around\n/quit\n"
    ).stdout

    messages = [body["message"] for _, body in bundle.requests]
    assert messages == ["hello", "Climb the tower", "I look around"]
    assert [body.get("session_id") for _, body in bundle.requests] == [None, "s1", "s1"]
    assert len({key for key, _ in bundle.requests}) == 3
    assert all(body["stream"] and body["seed"] == 5 for _, body in bundle.requests)
    assert "The Harbour" in shown
    assert "Fog over the water." in shown
    assert "Who is here: Mara Venn" in shown
    assert "Mara winds the tide clock. [1]\n" in shown
    assert "鐘聲在霧裡響起。 [1] [2]\n" in shown
    assert "You say: hello.\n" in shown, "an invented sentence carries no mark"
    assert "Mara Venn (amused): Mind [the] :tide:." in shown
    assert "  2. Climb the tower" in shown
    assert "Open the vault (locked: brass key needed)" in shown
    assert "[1] Mara · lorebook.md\n    Mara keeps the tide clock." in shown
    assert "> hello" in shown
    assert "rope x2" in shown
    assert "holodeck play harbour --session s1" in shown
    assert "\x1b" not in shown, "no colours into a pipe"


def test_play_json_prints_one_line_per_turn(bundle: Bundle) -> None:
    lines = holodeck("play", "harbour", "--json", script="hello\n/lore\n1\n").stdout.splitlines()
    first, second = (json.loads(line) for line in lines)
    assert first["ok"]
    assert first["turn_id"] == "t1"
    assert second["message"] == "Ask about the clock"
    assert [(cited["number"], cited["id"], cited["text"]) for cited in first["lore"]] == [
        (1, TIDE, LORE[TIDE]),
        (2, LIGHT, LORE[LIGHT]),
    ]
    assert second["game_state"]["turn_count"] == 2


def test_without_streaming_the_cited_lore_is_fetched(bundle: Bundle) -> None:
    shown = holodeck("play", "harbour", "--no-stream", script="hello\n/lore\n").stdout
    assert not bundle.requests[0][1]["stream"]
    assert "Mara winds the tide clock. [1]\n" in shown
    assert "Mara keeps the tide clock." in shown


@pytest.mark.parametrize("flags", [(), ("--no-stream",)])
def test_a_lost_connection_is_resent_under_the_same_key(
    bundle: Bundle, pauses: list[float], flags: tuple[str, ...]
) -> None:
    bundle.script = [DROP_AFTER_COMMIT, problem(409, "in_flight", "Still at it."), {}]
    shown = holodeck("play", "harbour", *flags, script="hello\n").stdout
    assert len(bundle.requests) == 3
    assert len({key for key, _ in bundle.requests}) == 1
    assert next(iter(bundle.turns.values()))["turn_id"] == "t1"
    assert len(bundle.turns) == 1
    assert shown.count("You say: hello.") == 1, "what was shown before the loss is not shown again"
    assert shown.count("trying again") == 2
    assert pauses == [0.5, 1.0]


def test_resending_ends(bundle: Bundle, pauses: list[float]) -> None:
    bundle.script = [problem(503, "unavailable", "Restarting.") for _ in range(99)]
    result = holodeck("play", "harbour", "--json", script="hello\nagain\n", expect=1)
    assert document(result)["error"]["code"] == "E_UNAVAILABLE"
    assert len(bundle.requests) == 6
    assert pauses == [1.0, 1.0, 2.0, 4.0, 8.0]


def test_waiting_for_the_first_copy_has_its_own_bound(bundle: Bundle) -> None:
    bundle.script = [problem(409, "in_flight", "Still at it.") for _ in range(99)]
    request = TurnRequest.model_validate({"message": "hello", "world_id": "harbour"})
    patience = Patience(resends=0, first_pause_s=0.01, in_flight_s=0.5)
    with Client(bundle.url, patience=patience) as client, pytest.raises(CliError, match="Still at it"):
        client.take_turn(request, "k")
    assert len(bundle.requests) == 2  # the bundle's Retry-After of one second is kept


def test_a_tale_told_anew_is_shown_again_in_full(bundle: Bundle) -> None:
    bundle.script = ["restart"]
    shown = holodeck("play", "harbour", script="hello\n").stdout
    after = shown.split("the tale is told anew:")[1]
    assert "This engine dies." in shown
    assert "This engine dies." not in after
    assert after.count("You say: hello.") == 1
    assert after.count("Mara winds the tide clock. [1]") == 1


def test_a_conflict_ends_a_script_with_the_envelope(bundle: Bundle) -> None:
    bundle.script = [{}, problem(409, "conflict", "Another turn was first.")]
    lines = holodeck("play", "harbour", "--json", script="hello\nagain\nmore\n", expect=1).stdout.splitlines()
    assert len(lines) == len(bundle.requests) == 2, "a conflict is not resent, and ends the script"
    envelope = json.loads(lines[1])
    assert envelope.keys() == {"ok", "session_id", "failed_stage", "error"}
    assert envelope["error"].keys() == {"code", "component", "message", "retryable", "suggested_actions"}
    assert envelope["ok"] is False
    assert envelope["session_id"] == "s1"
    assert envelope["failed_stage"] == "play"
    assert envelope["error"]["code"] == "E_CONFLICT"
    assert envelope["error"]["message"] == "Another turn was first."


def test_an_error_in_the_stream_is_a_failure(bundle: Bundle) -> None:
    bundle.script = ["error"]
    error = document(holodeck("play", "harbour", "--json", script="hello\n", expect=1))["error"]
    assert error["code"] == "E_DEADLINE_EXCEEDED"
    assert error["retryable"]


@pytest.mark.parametrize("line", ["9", "3", "0", "/nonsense"])
def test_a_script_that_picks_what_is_not_there_fails(bundle: Bundle, line: str) -> None:
    result = holodeck("play", "harbour", script=f"hello\n{line}\n", expect=1)
    assert "E_INPUT" in result.stderr
    assert len(bundle.requests) == 1


def test_a_number_before_any_choices_is_a_message(bundle: Bundle) -> None:
    holodeck("play", "harbour", script="42\n")
    assert bundle.requests[0][1]["message"] == "42"


def test_a_message_that_is_too_long_is_not_sent(bundle: Bundle) -> None:
    assert "E_INPUT" in holodeck("play", "harbour", script="x" * 4001 + "\n", expect=1).stderr
    assert not bundle.requests


def test_resuming_shows_the_last_turn_and_its_choices(bundle: Bundle) -> None:
    bundle.has_story = True
    shown = holodeck("play", "harbour", "--session", "s1", script="1\n").stdout
    assert "You say: hello." in shown.split("> 1")[0]
    assert bundle.requests[0][1]["session_id"] == "s1"
    assert bundle.requests[0][1]["message"] == "Ask about the clock"


def test_resuming_works_with_a_bundle_that_cannot_tell(bundle: Bundle) -> None:
    assert "session s1" in holodeck("play", "harbour", "--session", "s1", script="go\n").stdout


def test_a_new_scene_is_announced(bundle: Bundle) -> None:
    place = {"characters_present": ["mara"]}
    state = {**STATE, "scene_id": "tower", "location": "Clock Tower", "locations": {"Clock Tower": place}}
    bundle.script = [{"game_state": state}]
    shown = holodeck("play", "harbour", script="climb\n").stdout
    assert "The tower · Clock Tower" in shown
    assert shown.count("Who is here: Mara Venn") == 2


def test_an_unknown_character_names_the_known_ones(bundle: Bundle) -> None:
    error = document(holodeck("play", "harbour", "--character", "bob", "--json", expect=1))["error"]
    assert error["code"] == "E_NOT_FOUND"
    assert error["suggested_actions"] == ["One of: mara"]


def test_ctrl_c_cancels_one_turn_and_ctrl_d_leaves(bundle: Bundle) -> None:
    bundle.script = [HANG, problem(409, "conflict", "Another turn was first."), {}]
    terminal = Terminal("play", "harbour")
    try:
        terminal.until("> ")
        terminal.type("wait\n")
        terminal.until("You say: wait.")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("Turn cancelled.")
        assert bundle.saw_hang_up.wait(timeout=5), "the bundle goes on working for nobody"
        terminal.until("> ")
        terminal.type("hello\n")
        assert "E_CONFLICT" in terminal.until("/retry sends this turn again")
        terminal.type("/retry\n")
        shown = terminal.until("1. Ask about the clock")
        assert re.search(r"\x1b\[2m\S*You say: hello\.", shown), "an invented sentence is dim"
        assert "\x1b[1;36m [1]" in shown
        terminal.until("> ")
        terminal.type("\x04")
        assert terminal.process.wait(timeout=10) == 0
    finally:
        terminal.close()
    keys = [key for key, _ in bundle.requests]
    assert len(keys) == 3
    assert keys[0] != keys[1] == keys[2]
