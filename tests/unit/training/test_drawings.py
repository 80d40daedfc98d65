"""The drawings of the pocket image model: scenes, captions, pictures, and the reader that judges pictures."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from sagaforge.training.pocket.sdxl import reader, wording
from sagaforge.training.pocket.sdxl.captions import caption, vocabulary, words_of
from sagaforge.training.pocket.sdxl.drawing import draw
from sagaforge.training.pocket.sdxl.features import degrade
from sagaforge.training.pocket.sdxl.scenes import (
    CLOTHES,
    HAIRS,
    INDOORS,
    PLACES,
    STYLES,
    Scene,
    draw_scene,
    draw_scenes,
    is_held_out,
)

NUM_JUDGED = 100


def scenes_of(num: int, seed: int = 5, *, held_out: bool = False) -> list[Scene]:
    return list(itertools.islice(draw_scenes(seed, held_out=held_out), num))


def test_a_seed_gives_one_scene_and_one_picture() -> None:
    assert draw_scene(3) == draw_scene(3)
    assert np.array_equal(draw(draw_scene(3)), draw(draw_scene(3)))
    assert not np.array_equal(draw(draw_scene(3)), draw(draw_scene(4)))


@pytest.mark.parametrize("size", [64, 128, 200])
def test_a_scene_is_drawn_at_any_size(size: int) -> None:
    picture = draw(draw_scene(8), size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8


def test_training_never_sees_what_is_held_out() -> None:
    seen, held = scenes_of(400), scenes_of(100, held_out=True)
    assert not any(is_held_out(scene) for scene in seen)
    assert all(is_held_out(scene) for scene in held)
    # About a tenth of the combinations is kept, and each value by itself is known from training.
    share = np.mean([is_held_out(draw_scene(seed)) for seed in range(1500)])
    assert 0.06 < share < 0.2
    assert {scene.place for scene in seen} == set(PLACES)
    assert {who.hair for scene in seen for who in scene.characters} == set(HAIRS)
    assert {who.clothes for scene in seen for who in scene.characters} == set(CLOTHES)


def test_no_weather_indoors() -> None:
    assert all(scene.weather == "clear" for scene in scenes_of(300) if scene.place in INDOORS)


def test_captions_keep_to_the_vocabulary() -> None:
    words, rng = vocabulary(), random.Random(1)
    assert len(words) <= 700
    for scene in scenes_of(600):
        assert set(words_of(caption(scene, rng).text)) <= words


def test_a_caption_names_what_it_says_it_names() -> None:
    rng = random.Random(2)
    tables = wording.all_tables()
    tables["time"] = {time: words + wording.TIME_TAGS[time] for time, words in tables["time"].items()}
    for scene in scenes_of(600):
        told = caption(scene, rng)
        for name in told.named - {"figures", "composition"}:
            attribute, who = name.rstrip("2"), scene.characters[name.endswith("2")] if scene.characters else None
            value = getattr(scene, attribute) if hasattr(scene, attribute) else getattr(who, attribute)
            assert any(words in told.text.lower() for words in tables[attribute][value]), (name, told.text)


def test_captions_vary_and_leave_things_out() -> None:
    scene, rng = next(scene for scene in scenes_of(50) if scene.composition == "portrait"), random.Random(3)
    told = [caption(scene, rng) for _ in range(60)]
    assert len({one.text for one in told}) > 50
    assert any("hair" not in one.named for one in told)
    assert any("hair" in one.named for one in told)


def test_styles_differ_and_the_content_stays() -> None:
    scene = next(scene for scene in scenes_of(50) if scene.composition == "portrait")
    pictures = {style: draw(replace(scene, style=style)) for style in STYLES}
    for a, b in itertools.combinations(STYLES, 2):
        assert np.abs(pictures[a].astype(int) - pictures[b]).mean() > 12, (a, b)
    for style, picture in pictures.items():
        read = reader.read(picture, "portrait", style)
        assert read["style"] == style
        assert (read["hair"], read["clothes"]) == (scene.characters[0].hair, scene.characters[0].clothes)


def accuracy(pictures: list[np.ndarray], scenes: list[Scene]) -> tuple[float, dict[str, float]]:
    """The share of attributes that are read right, over all and by attribute."""
    right: dict[str, list[bool]] = {}
    for picture, scene in zip(pictures, scenes, strict=True):
        for name, is_right in reader.score(picture, scene, reader.readable(scene)).items():
            right.setdefault(name.rstrip("2"), []).append(is_right)
    return float(np.mean([x for rows in right.values() for x in rows])), {
        n: float(np.mean(x)) for n, x in right.items()
    }


def test_the_reader_judges_held_out_drawings() -> None:
    scenes, rng = scenes_of(NUM_JUDGED, 77, held_out=True), np.random.default_rng(7)
    pictures = [draw(scene) for scene in scenes]
    as_drawn, by_name = accuracy(pictures, scenes)
    assert as_drawn >= 0.95, by_name
    degraded, by_name = accuracy([degrade(picture, rng) for picture in pictures], scenes)
    assert degraded >= 0.90, by_name


def test_the_reader_knows_nothing_of_noise() -> None:
    scenes, rng = scenes_of(NUM_JUDGED, 77, held_out=True), np.random.default_rng(8)
    noise = [rng.integers(0, 256, (128, 128, 3)).astype(np.uint8) for _ in scenes]
    _, by_name = accuracy(noise, scenes)
    for name, num_values in (("place", 12), ("hair", 7), ("clothes", 8), ("style", 5), ("time", 4)):
        assert by_name[name] < 1.0 / num_values + 0.2, by_name


def test_score_tells_a_wrong_colour() -> None:
    scene = next(scene for scene in scenes_of(80) if scene.composition == "portrait" and scene.weather == "clear")
    who = replace(scene.characters[0], hair="blonde" if scene.characters[0].hair != "blonde" else "blue")
    other = replace(scene, characters=(who,))
    named = {"hair", "clothes", "garment"}
    assert reader.score(draw(other), scene, named) == {"hair": False, "clothes": True}
