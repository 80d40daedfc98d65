"""`holodeck image make`, `list` and `styles`: painting and its progress, and files that are not overwritten."""

from __future__ import annotations

import base64
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sagaforge.cli.picture_files import slug
from tests.support.scripted_bundle import Terminal, document, holodeck, problem
from tests.support.scripted_images import (
    DROP,
    FAIL,
    HANG,
    SIDE_PX,
    ScriptedImages,
    error_of,
    image_id,
    painted,
    png,
    saved_as,
)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between resends, recorded instead of slept."""
    recorded: list[float] = []
    monkeypatch.setattr("sagaforge.cli.client.sleep", recorded.append)
    return recorded


# --- make ---------------------------------------------------------------------------------------------------------


def test_a_picture_is_painted_and_saved(images: ScriptedImages, served: Any) -> None:
    shown = holodeck("image", "make", "A lighthouse, at dusk!", "--seed", "7").stdout
    assert shown == f"a-lighthouse-at-dusk-7.png  seed 7  {served[0].url}/images/{image_id(7)}.png\n"
    assert Path("a-lighthouse-at-dusk-7.png").read_bytes() == png(7, "A lighthouse, at dusk!")
    ((key, body),) = images.requests
    assert key
    assert body["stream"]
    assert {"negative_prompt", "width", "image", "world_id"}.isdisjoint(body), "left out: the bundle decides on these"


def test_every_option_goes_into_the_request(images: ScriptedImages) -> None:
    Path("start.webp").write_bytes(saved_as(painted(1), "WEBP"))
    Path("mask.png").write_bytes(saved_as(Image.new("L", (SIDE_PX, SIDE_PX)), "PNG"))
    options = (
        "--style cyberpunk --negative blurry --width 512 --height 768 --steps 9 --guidance 4.5 --seed 5"
        " --scheduler euler_a --count 2 --lora alice --lora bob:-0.5 --type portrait"
        " --from start.webp --mask mask.png --strength 0.4 --fit pad --world harbour --out made"
    )
    holodeck("image", "make", "燈塔", *options.split())
    assert images.requests[0][1] == {
        "prompt": "燈塔",
        "style_preset": "cyberpunk",
        "negative_prompt": "blurry",
        "width": 512,
        "height": 768,
        "steps": 9,
        "cfg_scale": 4.5,
        "seed": 5,
        "scheduler": "euler_a",
        "num_images": 2,
        "lora": [{"name": "alice", "scale": 1.0}, {"name": "bob", "scale": -0.5}],
        "image_type": "portrait",
        "image": base64.b64encode(Path("start.webp").read_bytes()).decode(),
        "mask": base64.b64encode(Path("mask.png").read_bytes()).decode(),
        "strength": 0.4,
        "fit": "pad",
        "world_id": "harbour",
        "stream": True,
    }
    assert sorted(path.name for path in Path("made").iterdir()) == ["燈塔-5.png", "燈塔-6.png"]


def test_json_is_the_answer_and_the_files(images: ScriptedImages) -> None:
    made = document(holodeck("image", "make", "x", "--seed", "7", "--count", "2", "--json"))
    assert made["ok"]
    assert made["image_id"] == image_id(7)
    assert [one["metadata"]["seed"] for one in made["images"]] == [7, 8]
    assert [(file["path"], file["seed"]) for file in made["files"]] == [("x-7.png", 7), ("x-8.png", 8)]


def test_nothing_is_overwritten_but_the_file_that_was_named(images: ScriptedImages) -> None:
    for _ in range(3):
        holodeck("image", "make", "x", "--seed", "7", "--out", "made")
    assert sorted(path.name for path in Path("made").iterdir()) == ["x-7-2.png", "x-7-3.png", "x-7.png"]
    Path("mine.png").write_text("old")
    assert holodeck("image", "make", "x", "--seed", "8", "--out", "mine.png").stdout.startswith("mine.png ")
    assert Path("mine.png").read_bytes() == png(8, "x")


@pytest.mark.parametrize(
    ("out", "count"),
    [
        ("notes.txt/x.png", 1),
        ("notes.txt", 1),
        ("notes.txt/deeper", 1),
        ("x.jpg", 1),
        ("x.png", 2),
        ("dir.png/x.png", 2),
    ],
)
def test_what_cannot_be_written_is_said_before_painting(images: ScriptedImages, out: str, count: int) -> None:
    Path("notes.txt").write_text("mine")
    Path("dir.png").mkdir()
    assert error_of("make", "x", "--count", str(count), "--out", out)["code"] == "E_INPUT"
    assert not images.requests
    assert Path("notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--width", "100"), "--width"),
        (("--guidance", "99"), "--guidance"),
        (("--lora", "alice:much"), "--lora"),
        (("--lora", "no/such"), "--lora"),
        (("--style", "../x"), "--style"),
        (("--mask", "x.png"), "x.png"),
        (("--strength", "0.5"), "--from"),
        (("--fit", "crop"), "--from"),
        (("--from", "missing.png"), "missing.png"),
        (("--from", "text.png"), "text.png"),
    ],
)
def test_options_that_are_wrong_are_named_and_not_sent(
    images: ScriptedImages, options: tuple[str, ...], told: str
) -> None:
    Path("text.png").write_text("no picture")
    error = error_of("make", "x", *options)
    assert error["code"] == "E_INPUT"
    assert told in error["message"] + str(error["suggested_actions"])
    assert not images.requests


def test_an_empty_prompt_paints_nothing(images: ScriptedImages) -> None:
    assert error_of("make", "")["message"].startswith("PROMPT: ")
    assert not images.requests


def test_a_lost_connection_is_resent_under_the_same_key(images: ScriptedImages, pauses: list[float]) -> None:
    images.script = [DROP, problem(503, "unavailable", "Restarting."), None]
    result = holodeck("image", "make", "x")
    assert len(images.requests) == 3
    assert len({key for key, _ in images.requests}) == 1
    assert result.stdout.startswith("x-100.png  seed 100 "), "the seed of the first attempt"
    assert result.stderr.count("trying again") == 2
    assert pauses == [0.5, 1.0]


def test_a_picture_that_cannot_be_fetched_is_not_lost(images: ScriptedImages, pauses: list[float]) -> None:
    images.downloads = [problem(503, "unavailable", "Restarting.")]
    holodeck("image", "make", "x", "--seed", "7")
    assert Path("x-7.png").exists()
    for failures in ([problem(503, "unavailable", "Restarting.")] * 6, [problem(404, "not_found", "Gone.")]):
        images.downloads = list(failures)
        assert f"/images/{image_id(7)}.png" in error_of("make", "x", "--seed", "7")["message"]
    assert len(images.requests) == 3


def test_an_error_in_the_stream_is_a_failure(images: ScriptedImages) -> None:
    images.script = [FAIL]
    error = error_of("make", "x")
    assert error["code"] == "E_DEADLINE_EXCEEDED"
    assert "fewer steps" in error["suggested_actions"][0]
    assert not list(Path().glob("*.png"))


def test_an_unknown_style_leads_to_the_styles(images: ScriptedImages) -> None:
    images.script = [problem(404, "not_found", "There is no style x.")]
    error = error_of("make", "x", "--style", "x")
    assert error["code"] == "E_NOT_FOUND"
    assert "holodeck image styles" in error["suggested_actions"][0]


def test_nothing_listening_is_told_at_once(pauses: list[float], tmp_path: Path) -> None:
    error = error_of("make", "x", "--out", str(tmp_path), "--url", "http://127.0.0.1:9")
    assert error["code"] == "E_CONNECT"
    assert not pauses


def test_progress_on_a_terminal_and_ctrl_c(images: ScriptedImages) -> None:
    images.script = [HANG]
    terminal = Terminal("image", "make", "x", "--seed", "7")
    try:
        terminal.until("Waking the painter")
        terminal.until("Seed 7")
        terminal.until("1 of 3 steps")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("E_CANCELLED")
        assert images.saw_hang_up.wait(timeout=5), "the bundle goes on painting for nobody"
        assert terminal.process.wait(timeout=10) == 130
    finally:
        terminal.close()
    assert not list(Path().glob("*.png"))


@pytest.mark.parametrize(
    ("prompt", "told"),
    [("海邊的燈塔", "海邊的燈塔"), ("../../etc/passwd", "etc-passwd"), ("?!", "picture"), ("a" * 50, "a" * 40)],
)
def test_file_names_tell_of_the_prompt(prompt: str, told: str) -> None:
    assert slug(prompt) == told


# --- list and styles ----------------------------------------------------------------------------------------------


def test_list(images: ScriptedImages) -> None:
    assert "No pictures yet" in holodeck("image", "list").stdout
    images.add(7)
    images.add(8, "a [red]\x1b[2J door")
    shown = holodeck("image", "list", "--limit", "9").stdout
    assert image_id(7) in shown
    assert r"a [red]\x1b[2J door" in shown
    assert images.queries[-1] == {"limit": "9"}
    listed = document(holodeck("image", "list", "--json"))
    assert [one["image_id"] for one in listed["images"]] == [image_id(7), image_id(8)]


def test_styles(images: ScriptedImages) -> None:
    shown = holodeck("image", "styles").stdout
    assert "cyberpunk" in shown
    assert "steps 14, cfg_scale 4.0" in shown
    assert document(holodeck("image", "styles", "--json"))["styles"][0]["style_suffix"] == "neon"
