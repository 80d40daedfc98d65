"""`holodeck play --pictures`: what becomes of the picture of a turn, which the turn itself never depends on."""

from __future__ import annotations

import io
import json
import re
import signal
from collections.abc import Iterator

import pytest
from PIL import Image
from rich.console import Console

from sagaforge.cli.half_blocks import COLUMNS, ROWS, half_blocks
from sagaforge.cli.output import Output
from sagaforge.cli.screen import Screen
from tests.support.scripted_bundle import (
    DROP_AFTER_COMMIT,
    HANG,
    Bundle,
    Terminal,
    document,
    event,
    holodeck,
    serving,
)
from tests.support.scripted_images import ScriptedImages, generated, image_id, receipt

STEP = event("image_step", {"image": 0, "done": 2, "total": 3})
IMAGE = generated(receipt(7))
PAINTED = [STEP, event("image", {"image": 0, **IMAGE})]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Bundle, ScriptedImages]]:
    """One server for the module: uvicorn takes its time to start and stop."""
    with serving() as scripted:
        yield scripted, ScriptedImages(scripted.app)


@pytest.fixture
def images(served: tuple[Bundle, ScriptedImages]) -> ScriptedImages:
    served[1].reset()
    return served[1]


@pytest.fixture
def bundle(served: tuple[Bundle, ScriptedImages], images: ScriptedImages, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    served[0].reset()
    monkeypatch.setenv("SAGAFORGE_URL", served[0].url)
    for name in ("SAGAFORGE_API_KEY", "NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    return served[0]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between resends, recorded instead of slept."""
    recorded: list[float] = []
    monkeypatch.setattr("sagaforge.cli.client.sleep", recorded.append)
    return recorded


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours for a CliRunner, which is no terminal."""
    for name, value in {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)


def address(bundle: Bundle) -> str:
    return f"The picture: {bundle.url}/images/{image_id(7)}.png\n"


def test_into_a_pipe_goes_the_address_alone(bundle: Bundle) -> None:
    bundle.pictures = [PAINTED, PAINTED]
    shown = holodeck("play", "harbour", "--pictures", "--style", "cyberpunk", script="hello\n1\n").stdout
    assert all(body["generate_image"] and body["style_preset"] == "cyberpunk" for _, body in bundle.requests)
    assert len(bundle.requests) == 2
    assert shown.count(address(bundle)) == 2
    assert shown.index("1. Ask about the clock") < shown.index("The picture:")
    assert not re.search("[\x1b▀]|painting|can't be shown", shown)


def test_without_streaming_the_picture_comes_with_the_turn(bundle: Bundle) -> None:
    bundle.script = [{"image": IMAGE, "image_problem": None}, {"image": None, "image_problem": "It is out of paint."}]
    shown = holodeck("play", "harbour", "--pictures", "--no-stream", script="hello\n1\n").stdout
    assert [body["generate_image"] for _, body in bundle.requests] == [True, True]
    assert shown.count(address(bundle)) == 1
    assert shown.count("There is no picture of this moment: It is out of paint.") == 1


def test_without_pictures_none_is_asked_for(bundle: Bundle) -> None:
    turn = document(holodeck("play", "harbour", "--json", script="hello\n"))
    assert not bundle.requests[0][1]["generate_image"]
    assert turn["image"] is turn["image_problem"] is None


@pytest.mark.parametrize("flags", [(), ("--no-stream",)])
def test_json_holds_the_picture_or_why_there_is_none(bundle: Bundle, flags: tuple[str, ...]) -> None:
    bundle.pictures = [PAINTED, [event("image_problem", {"code": "unavailable", "detail": "It sleeps."})]]
    if flags:
        bundle.script = [{"image": IMAGE}, {"image_problem": "It sleeps."}]
    lines = holodeck("play", "harbour", "--pictures", "--json", *flags, script="hello\n1\n").stdout.splitlines()
    first, second = (json.loads(line) for line in lines)
    assert first["image"]["image_id"] == image_id(7)
    assert first["image_problem"] is None
    assert second["ok"]
    assert second["turn_id"] == "t2"
    assert second["image"] is None
    assert second["image_problem"] == "It sleeps."


def test_a_connection_lost_while_painting_is_resent(bundle: Bundle, pauses: list[float]) -> None:
    bundle.pictures = [[STEP, DROP_AFTER_COMMIT], PAINTED]
    shown = holodeck("play", "harbour", "--pictures", script="hello\n").stdout
    assert len({key for key, _ in bundle.requests}) == 1
    assert len(bundle.requests) == 2
    assert pauses == [0.5]
    assert shown.count("You say: hello.") == shown.count("1. Ask about the clock") == 1, "the turn is shown once"
    assert shown.count(address(bundle)) == 1


def test_a_connection_that_stays_lost_leaves_the_turn(bundle: Bundle, pauses: list[float]) -> None:
    bundle.pictures = [[DROP_AFTER_COMMIT] for _ in range(6)] + [PAINTED]
    shown = holodeck("play", "harbour", "--pictures", script="hello\n2\n").stdout
    assert len(pauses) == 5
    assert shown.count("There is no picture of this moment: the connection") == 1
    assert bundle.requests[-1][1]["message"] == "Climb the tower", "the game goes on from the turn"
    assert bundle.requests[-1][1]["session_id"] == "s1"


def test_an_error_while_painting_leaves_the_turn(bundle: Bundle) -> None:
    late = event("error", {"code": "deadline_exceeded", "detail": "It took too long.", "request_id": "r1"})
    bundle.pictures = [[STEP, late]]
    turn = document(holodeck("play", "harbour", "--pictures", "--json", script="hello\n"))
    assert turn["turn_id"] == "t1"
    assert turn["image_problem"] == "It took too long."


@pytest.mark.parametrize(
    ("flags", "code"),
    [(("--style", "cyberpunk"), "E_INPUT"), (("--pictures", "--style", "no such"), "E_NOT_FOUND")],
)
def test_a_style_is_one_of_the_bundle_and_for_pictures(bundle: Bundle, flags: tuple[str, ...], code: str) -> None:
    assert document(holodeck("play", "harbour", *flags, "--json", script="hello\n", expect=1))["error"]["code"] == code
    assert not bundle.requests


# --- on a terminal --------------------------------------------------------------------------------------------------


def test_a_picture_that_cannot_be_fetched_keeps_its_address(
    bundle: Bundle, images: ScriptedImages, colours: None
) -> None:
    bundle.pictures = [PAINTED]
    shown = holodeck("play", "harbour", "--pictures", script="hello\n").stdout
    assert "The picture can't be shown: There is no picture" in shown
    assert f"{image_id(7)}.png" in shown


def test_a_picture_is_drawn_while_a_status_tells_how_far_it_is(
    bundle: Bundle, images: ScriptedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    images.add(7)
    bundle.pictures = [[0.5, STEP, 0.5, PAINTED[1]], [STEP, HANG], PAINTED]
    terminal = Terminal("play", "harbour", "--pictures")
    try:
        terminal.until("> ")
        terminal.type("hello\n")
        terminal.until("1. Ask about the clock")
        terminal.until("waking the painter …")
        terminal.until("painting … 2 of 3")
        drawn = terminal.until("The picture:")
        assert drawn.count("▀") == COLUMNS * COLUMNS // 2
        assert re.search(r"\x1b\[38;2;\d+;\d+;\d+;48;2;\d+;\d+;\d+m▀", drawn)
        terminal.until("> ")
        terminal.type("1\n")
        terminal.until("painting … 2 of 3")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("There is no picture of this moment: cancelled")
        assert bundle.saw_hang_up.wait(timeout=5), "the bundle goes on painting for nobody"
        terminal.until("> ")
        terminal.type("/state\n")
        assert re.search(r"turn\s+2", terminal.until("> ")), "the turn itself is kept"
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("colour_system", "width", "is_drawn"),
    [("truecolor", COLUMNS, True), ("256", 100, True), ("standard", 100, False), ("truecolor", COLUMNS - 1, False)],
)
def test_drawing_takes_colours_and_room(colour_system: str, width: int, is_drawn: bool) -> None:
    screen = Screen(Output(as_json=False))
    options = {"color_system": colour_system, "width": width, "_environ": {}}
    screen.console = Console(file=io.StringIO(), force_terminal=True, **options)  # type: ignore[arg-type]
    assert screen.can_draw == is_drawn
    screen.console.no_color = True
    assert not screen.can_draw


@pytest.mark.parametrize(
    ("size", "columns", "rows"),
    [((512, 512), 48, 24), ((768, 512), 48, 16), ((512, 768), 43, 32), ((64, 2048), 2, 32), ((2048, 64), 48, 1)],
)
def test_half_blocks_keep_the_shape(size: tuple[int, int], columns: int, rows: int) -> None:
    text = "".join(segment.text for segment in half_blocks(Image.new("RGB", size)).segments)
    assert text == ("▀" * columns + "\n") * rows
    assert columns <= COLUMNS
    assert rows <= ROWS


def test_half_blocks_show_the_upper_pixel_over_the_lower_one() -> None:
    picture = Image.new("RGBA", (COLUMNS, 4), (255, 0, 0, 255))
    picture.paste((0, 0, 255, 255), (0, 1, COLUMNS, 2))
    styles = [segment.style for segment in half_blocks(picture).segments if segment.text == "▀"]
    assert styles[0] is not None
    assert str(styles[0]) == "#ff0000 on #0000ff"
    assert str(styles[-1]) == "#ff0000 on #ff0000"
