"""Fits the reader's classifiers on drawings of seen scenes and says how often they are right on held-out ones.

python -m sagaforge.training.pocket_sdxl.fit
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from sagaforge.training.pocket_sdxl import reader
from sagaforge.training.pocket_sdxl.canvas import Pixels
from sagaforge.training.pocket_sdxl.drawing import draw
from sagaforge.training.pocket_sdxl.features import Floats, degrade, eye_features, figure_features, view_features
from sagaforge.training.pocket_sdxl.figure import FRAMES
from sagaforge.training.pocket_sdxl.reader import FIGURE, VIEW, VIEW_BY_STYLE, WEIGHTS, Linear
from sagaforge.training.pocket_sdxl.scenes import Scene, draw_scenes

SEED = 2026
NUM_SCENES = 2400
NUM_JUDGED = 500

Drawn = tuple[Pixels, Scene]


class Examples:
    """Features and labels by classifier."""

    def __init__(self) -> None:
        self.features: defaultdict[str, list[Floats]] = defaultdict(list)
        self.labels: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, picture: Pixels, scene: Scene) -> None:
        values = reader.values_of(scene)
        view = view_features(picture)
        for name in (*VIEW, *VIEW_BY_STYLE):
            if name in values:
                self._add(f"{name}/{scene.style}" if name in VIEW_BY_STYLE else name, view, values[name])
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
    """Linear discriminants with a covariance shrunk towards its diagonal (Ledoit and Wolf)."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-4
    classes = sorted(set(labels))
    # Equal priors: a guess must not lean to what is drawn more often.
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(len(classes), 1 / len(classes)))
    model.fit((features - centre) / scale, labels)
    weights = (model.coef_ / scale).astype(np.float32)
    return Linear(tuple(classes), weights, (model.intercept_ - weights @ centre).astype(np.float32))


def fit(drawn: Iterable[Drawn], rng: np.random.Generator) -> dict[str, Linear]:
    examples = Examples()
    for picture, scene in drawn:
        examples.add(picture, scene)
        for strength in (0.6, 1.0):
            examples.add(degrade(picture, rng, strength), scene)
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
