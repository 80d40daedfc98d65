"""Fits the reader's classifiers on drawings of seen scenes and says how often they are right on held-out ones.

python -m sagaforge.training.pocket.sdxl.fit
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from sagaforge.training.pocket.sdxl import reader
from sagaforge.training.pocket.sdxl.canvas import Pixels
from sagaforge.training.pocket.sdxl.drawing import draw
from sagaforge.training.pocket.sdxl.features import (
    Floats,
    degrade,
    eye_features,
    figure_features,
    time_features,
    view_features,
    weather_features,
)
from sagaforge.training.pocket.sdxl.figure import FRAMES
from sagaforge.training.pocket.sdxl.reader import FIGURE, VIEW, WEIGHTS, Linear
from sagaforge.training.pocket.sdxl.scenes import Scene, draw_scenes

SEED = 2026
NUM_SCENES = 1000
NUM_JUDGED = 400
SHRINKAGE = 0.08

Drawn = tuple[Pixels, Scene]


class Examples:
    """Features and labels by classifier."""

    def __init__(self) -> None:
        self.features: defaultdict[str, list[Floats]] = defaultdict(list)
        self.labels: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, picture: Pixels, scene: Scene) -> None:
        values = reader.values_of(scene)
        view = view_features(picture)
        for name in VIEW:
            self._add(name, view, values[name])
        self._add(reader.time_model(scene.style, scene.place), time_features(picture, scene.composition), scene.time)
        if "weather" in values:
            self._add(f"weather/{scene.style}", weather_features(picture), scene.weather)
        for i, frame in enumerate(FRAMES[scene.composition]):
            of_figure = figure_features(picture, frame)
            for name in FIGURE:
                self._add(f"{name}/{scene.style}", of_figure, values[f"{name}2" if i else name])
        if "eyes" in values:
            self._add(f"eyes/{scene.style}", eye_features(picture), values["eyes"])

    def _add(self, name: str, features: Floats, label: str) -> None:
        self.features[name].append(features)
        self.labels[name].append(label)


def fit_linear(features: Floats, labels: list[str]) -> Linear:
    """Linear discriminants of equally likely classes, with a covariance shrunk towards the identity."""
    centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-4
    x = (features - centre) / scale
    classes = sorted(set(labels))
    index = np.array([classes.index(label) for label in labels])
    means = np.stack([x[index == i].mean(axis=0) for i in range(len(classes))])
    inner = x - means[index]
    spread = inner.T @ inner / len(x) * (1 - SHRINKAGE)
    spread[np.diag_indices_from(spread)] += SHRINKAGE
    weights = np.linalg.solve(spread, means.T).T
    bias = -0.5 * (weights * means).sum(axis=1)
    weights = (weights / scale).astype(np.float32)
    return Linear(tuple(classes), weights, (bias - weights @ centre).astype(np.float32))


def fit(drawn: Iterable[Drawn], rng: np.random.Generator) -> dict[str, Linear]:
    examples = Examples()
    for picture, scene in drawn:
        examples.add(picture, scene)
        examples.add(degrade(picture, rng, rng.uniform(0.5, 1.0)), scene)
    return {name: fit_linear(np.stack(rows), examples.labels[name]) for name, rows in examples.features.items()}


def save(models: dict[str, Linear]) -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, model in models.items():
        arrays[f"{name}|classes"] = np.array(" ".join(model.classes))
        arrays[f"{name}|weights"] = model.weights.astype(np.float16)
        arrays[f"{name}|bias"] = model.bias
    np.savez_compressed(WEIGHTS, **arrays)  # type: ignore[arg-type]
    reader.load.cache_clear()


def judge(drawn: Iterable[Drawn]) -> dict[str, float]:
    """The share of readings that are right, by attribute."""
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for picture, scene in drawn:
        for name, is_right in reader.score(picture, scene, reader.readable(scene)).items():
            right[name.rstrip("2")].append(is_right)
            right["all"].append(is_right)
    return {name: float(np.mean(rows)) for name, rows in right.items()}


def drawings(seed: int, num: int, *, held_out: bool = False) -> list[Drawn]:
    return [(draw(scene), scene) for scene in itertools.islice(draw_scenes(seed, held_out=held_out), num)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=NUM_SCENES, help="scenes to fit on")
    parser.add_argument("--judged", type=int, default=NUM_JUDGED, help="held-out scenes to judge")
    args = parser.parse_args()
    rng = np.random.default_rng(SEED)
    save(fit(drawings(SEED, args.num), rng))
    held = drawings(SEED + 1, args.judged, held_out=True)
    table = {
        "as drawn": judge(held),
        "degraded": judge((degrade(picture, rng), scene) for picture, scene in held),
        "noise": judge((rng.integers(0, 256, picture.shape).astype(np.uint8), scene) for picture, scene in held),
    }
    print(f"{'':12}" + "".join(f"{kind:>10}" for kind in table))
    for name in table["as drawn"]:
        print(f"{name:12}" + "".join(f"{rows[name]:10.3f}" for rows in table.values()))


if __name__ == "__main__":
    main()
