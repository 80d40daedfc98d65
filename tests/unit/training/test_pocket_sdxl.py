"""The recipe of the pocket SDXL, from drawings to a folder that the engine paints with; at a size that learns nothing."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from sagaforge.deployments.diffusion.engine.maker import ImageMaker
from sagaforge.deployments.diffusion.interface import ImageSpec, Made
from sagaforge.profiles import EngineLimits, ImageModel
from sagaforge.training import runs
from sagaforge.training.muon import Muon
from sagaforge.training.pocket.sdxl import album, export, judge, models, train, train_text, train_vae
from sagaforge.training.pocket.sdxl.captions import caption
from sagaforge.training.pocket.sdxl.optimizers import KernelMuon, make_optimizers
from sagaforge.training.pocket.sdxl.scenes import draw_scenes, is_held_out

NUM_DRAWN = 16
KEY = "final_layer_norm.weight"
MAX_PARAMETERS = 20_000_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A run of some seconds, resumed once."""
    folder = tmp_path_factory.mktemp("run")
    album.make_album(folder / "album", NUM_DRAWN, seed=1, processes=1)
    train_vae.train(train_vae.Config(str(folder), minutes=0.02, threads=1, batch=4))
    for _ in range(2):
        minutes = spent(folder / "text.pt") + 0.02
        train_text.train(train_text.Config(str(folder), minutes=minutes, threads=1, batch=4))
    for _ in range(2):
        minutes = spent(folder / "checkpoint.pt") + 0.03
        train.train(train.Config(str(folder), minutes=minutes, threads=1, batch=4, num_scored=2))
    return folder


def spent(checkpoint: Path) -> float:
    """Minutes that a run has had: more than it was given where a step takes longer than that."""
    return torch.load(checkpoint, weights_only=True)["spent"] / 60 if checkpoint.exists() else 0.0


def test_an_album_is_drawn_once_and_gives_its_scenes_again(run: Path) -> None:
    pages = album.Album(run / "album")
    assert pages.pictures.shape == (NUM_DRAWN, models.SIZE, models.SIZE, 3)
    assert not any(is_held_out(scene) for scene in pages.scenes)
    before = (run / "album" / "pictures.npy").stat().st_mtime_ns
    album.make_album(run / "album", NUM_DRAWN, seed=1, processes=1)
    assert (run / "album" / "pictures.npy").stat().st_mtime_ns == before


def test_a_run_goes_on_where_it_stopped(run: Path) -> None:
    scores = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert len(scores) == 2
    assert scores[1]["step"] > scores[0]["step"]
    assert (run / "vae.png").exists()
    assert len(list((run / "samples").iterdir())) == 2


def test_the_text_encoders_are_frozen_as_captions_taught_them(run: Path) -> None:
    taught = torch.load(run / "text.pt", weights_only=True)["model"]
    assert all(name.startswith(("text_encoder", "query", "by_")) for name in taught)
    pipeline = judge.load_run(run)
    assert torch.equal(pipeline.text_encoder.state_dict()[KEY], taught[f"text_encoder.{KEY}"])
    assert set(torch.load(run / "checkpoint.pt", weights_only=True)["model"]) == set(pipeline.unet.state_dict())


def test_labels_are_of_what_a_caption_names() -> None:
    scene = next(scene for scene in draw_scenes(3) if len(scene.characters) == 2)
    labels = dict(zip(train_text.ATTRIBUTES, train_text.labels_of(scene, {"place", "hair2"}), strict=True))
    assert labels.pop("place") == train_text.ATTRIBUTES["place"].index(scene.place)
    assert labels.pop("hair2") == train_text.ATTRIBUTES["hair"].index(scene.characters[1].hair)
    assert set(labels.values()) == {train_text.UNNAMED}


def test_captions_alone_teach_words() -> None:
    """In some dozens of steps the loss falls by a third: places and styles are found."""
    torch.manual_seed(1)
    rng = random.Random(1)
    asked = [(scene, caption(scene, rng)) for scene in itertools.islice(draw_scenes(1), 64)]
    tokenizer = models.make_tokenizer([worded.text for _, worded in asked])
    reading = train_text.Reading(*models.make_text_encoders(tokenizer))
    optimizers = make_optimizers(reading, matrix_rate=5e-3, rate=2e-3)
    batch = train_text.make_batch(tokenizer, asked)
    losses = []
    for _ in range(25):
        loss = train_text.loss_of(reading, *batch)
        loss.backward()
        losses.append(loss.item())
        runs.step_at(reading, optimizers, runs.full_rates(optimizers), 1.0)
    assert losses[-1] < 0.67 * losses[0]


def test_figures_and_their_eyes_count_for_more() -> None:
    assert set(train.stress_of("empty").unique().tolist()) == {1.0}
    left, right = train.stress_of("left"), train.stress_of("right")
    assert torch.equal(left, right.flip(1))
    assert left[8, 4] == train.FIGURE_STRESS
    portrait = train.stress_of("portrait")
    assert int((portrait == train.EYE_STRESS).sum()) == 4


async def test_what_is_exported_paints(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "pocket-sdxl"
    target.mkdir()
    (target / "README.md").write_text("card")
    export.export(run, target)
    assert (target / "README.md").exists()
    assert sum(file.stat().st_size for file in target.rglob("*.safetensors")) <= 2.1 * MAX_PARAMETERS
    maker = ImageMaker(ImageModel("pocket-sdxl", str(target)), EngineLimits(), lambda name: b"")
    spec = ImageSpec("a girl with silver hair", width=128, height=128, steps=2, guidance_scale=3.0, seed=1)
    events = [event async for event in maker.generate(spec)]
    maker.close()
    assert isinstance(events[-1], Made)


def test_the_models_are_as_small_as_they_must_be() -> None:
    pipeline = models.make_pipeline(models.make_tokenizer(["a red cat"]))
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    assert sum(parameter.numel() for part in parts for parameter in part.parameters()) <= MAX_PARAMETERS


def test_captions_fit_and_unknown_words_are_spelled() -> None:
    rng = random.Random(1)
    texts = [caption(scene, rng).text for scene in itertools.islice(draw_scenes(1), 500)]
    tokenizer = models.make_tokenizer(texts)
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= models.MAX_TOKENS
    known = tokenizer("a girl with silver hair").input_ids
    assert len(known) == 7
    spelled = tokenizer("xylophone").input_ids
    assert tokenizer.decode(spelled, skip_special_tokens=True).strip() == "xylophone"
    assert tokenizer("A GIRL with Silver hair").input_ids == known


def test_the_judge_finds_the_drawings_right_and_others_wrong() -> None:
    asked = judge.cases(40)
    assert all(is_held_out(scene) for scene, _, _ in asked)
    drawn = [judge.draw(scene, models.SIZE) for scene, _, _ in asked]
    assert judge.shares(drawn, asked)["all"] >= 0.9
    assert judge.shares([*drawn[1:], drawn[0]], asked)["all"] <= 0.5
    noise = [np.random.default_rng(n).integers(0, 255, (128, 128, 3), dtype=np.uint8) for n in range(len(asked))]
    assert judge.shares(noise, asked)["all"] <= 0.4


def test_a_kernel_learns_as_the_matrix_that_it_is() -> None:
    kernel = torch.nn.Parameter(torch.randn(6, 4, 3, 3))
    matrix = torch.nn.Parameter(kernel.data.clone().view(6, -1))
    options = {"lr": 0.1, "weight_decay": 0.0}
    of_kernels, of_matrices = KernelMuon([kernel], **options), Muon([matrix], **options)
    for _ in range(2):
        kernel.grad = torch.randn(6, 4, 3, 3)
        matrix.grad = kernel.grad.reshape(6, -1)
        of_kernels.step()
        of_matrices.step()
    assert torch.equal(kernel.data.view(6, -1), matrix.data)


def test_polishing_the_decoder_leaves_latents_as_they_are(run: Path) -> None:
    before = torch.load(run / "vae.pt", weights_only=True)
    minutes = spent(run / "vae.pt") + 0.03
    train_vae.train(train_vae.Config(str(run), minutes=minutes, threads=1, batch=4, decoder_only=True))
    after = torch.load(run / "vae.pt", weights_only=True)
    assert after["step"] > before["step"]
    changed = {name for name, value in after["model"].items() if not torch.equal(value, before["model"][name])}
    assert changed
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in changed)
