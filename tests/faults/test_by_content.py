"""By content, not by name: a file that was replaced is another one for the very next request, everywhere."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from safetensors.torch import load, save

from sagaforge.datasets.adapters import AdapterStore
from sagaforge.datasets.packs.pack import Document, Pack
from sagaforge.datasets.store.tables import chunks_table
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.datasets.styles import Styles
from sagaforge.datasets.worlds.chunk_rows import valid_at
from sagaforge.datasets.worlds.embedder import is_name_of
from sagaforge.datasets.worlds.ingest import ingest
from sagaforge.deployments.diffusion.client import ImageClient
from sagaforge.deployments.diffusion.engine.maker import ImageMaker
from sagaforge.deployments.diffusion.interface import ImageSpec, Made, first_content
from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.errors import Conflict, Unavailable
from sagaforge.model_files import MODELS_DIR, model_sha256
from sagaforge.profiles import EngineLimits, ImageModel
from sagaforge.storage import Storage, file_mark
from tests.faults.adapter_layouts import file_of
from tests.support.fakes import House
from tests.support.tiny_diffusion import make_pipeline

pytestmark = pytest.mark.usefixtures("one_thread")
ONE, OTHER = file_of("kohya", seed=1), file_of("kohya", seed=2)
assert len(ONE) == len(OTHER)
SPEC = ImageSpec("a red cat", width=32, height=32, steps=2, guidance_scale=3.0, seed=7, adapters=(("ink", 1.0),))


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def overwritten(path: Path, body: bytes) -> None:
    path.write_bytes(body)


def moved_over(path: Path, body: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(body)
    os.replace(beside, path)


def with_its_old_time(path: Path, body: bytes) -> None:
    """As `cp -p` and `rsync -t` do it, of a file of the same size."""
    before = path.stat()
    path.write_bytes(body)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def linked(path: Path, body: bytes) -> None:
    target = path.with_suffix(".target")
    target.write_bytes(body)
    path.unlink()
    path.symlink_to(target)


WAYS = [overwritten, moved_over, with_its_old_time, linked]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets files that were written until now look old, so that their marks are believed."""

    def settle() -> None:
        monkeypatch.setattr("sagaforge.storage.SETTLED_NS", -1)

    return settle


# --- adapters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_settled", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_the_store_sees_a_replaced_file(
    tmp_path: Path, way: Callable[[Path, bytes], None], is_settled: bool, settled: Callable[[], None]
) -> None:
    storage = Storage(str(tmp_path))
    await storage.put_artefact("adapters/ink.safetensors", ONE)
    store, path = AdapterStore(storage), tmp_path / "artefacts" / "adapters" / "ink.safetensors"
    if is_settled:
        settled()
    for body in (ONE, OTHER, ONE):
        way(path, body)
        for _ in range(2):
            assert await store.hashed(["ink"]) == {"ink": sha256(body)}
        assert store.read("ink") == body


async def test_an_unchanged_file_is_hashed_once(
    tmp_path: Path, settled: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(str(tmp_path))
    await storage.put_artefact("adapters/ink.safetensors", ONE)
    read: list[str] = []
    hashing = Storage.sha256_object
    monkeypatch.setattr(Storage, "sha256_object", lambda self, key: read.append(key) or hashing(self, key))
    store = AdapterStore(storage)
    settled()
    for _ in range(3):
        assert await store.hashed(["ink", "nobody"]) == {"ink": sha256(ONE)}
    assert len(read) == 1


@pytest.mark.parametrize("asked", [{"prompt": "a harbour", "lora": ["ink"]}, {"prompt": "a harbour <lora:ink:1>"}])
async def test_another_picture_and_the_old_one_stays(
    client: httpx.AsyncClient, house: House, asked: dict[str, Any]
) -> None:
    body = {"seed": 3, **asked}
    ids = []
    for content in (ONE, ONE, OTHER, ONE):
        await house.storage.put_artefact("adapters/ink.safetensors", content)
        answer = await client.post("/t2i/generate", json=body)
        assert answer.status_code == 200, answer.text
        ids.append(answer.json()["image_id"])
    assert ids[0] == ids[1] == ids[3] != ids[2]
    assert [spec.adapter_sha256 for spec in house.images.specs] == [{"ink": sha256(ONE)}, {"ink": sha256(OTHER)}]
    assert (await client.get(f"/images/{ids[0]}.png")).content != (await client.get(f"/images/{ids[2]}.png")).content


@pytest.mark.parametrize("names", ["lora_path: ink", "style_suffix: drawn <lora:ink:0.5>"])
async def test_a_style_whose_adapter_is_replaced(client: httpx.AsyncClient, house: House, names: str) -> None:
    style = f"style_id: inked\nbase_model: m\n{names}\n".encode()
    await house.storage.put_artefact("styles/inked.yaml", style)
    ids = []
    for content in (ONE, OTHER):
        await house.storage.put_artefact("adapters/ink.safetensors", content)
        answer = await client.post("/t2i/generate", json={"prompt": "x", "seed": 3, "style_preset": "inked"})
        ids.append(answer.json()["image_id"])
    assert ids[0] != ids[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    make_pipeline("xl").save_pretrained(path)
    return path


async def made(maker: ImageMaker, spec: ImageSpec) -> Made:
    events = [event async for event in maker.generate(spec)]
    assert isinstance(events[-1], Made)
    return events[-1]


async def test_a_replica_paints_with_the_content_that_was_planned(folder: Path) -> None:
    files = {"ink": ONE}
    maker = ImageMaker(ImageModel("tiny", str(folder)), EngineLimits(), files.__getitem__)
    try:
        old = await made(maker, replace(SPEC, adapter_sha256={"ink": sha256(ONE)}))
        files["ink"] = OTHER
        new = await made(maker, replace(SPEC, adapter_sha256={"ink": sha256(OTHER)}))
        assert new.image != old.image
        used = [one.facts["adapters"][0]["sha256"] for one in (old, new)]  # type: ignore[index]
        assert used == [sha256(ONE), sha256(OTHER)]
        # What it holds of the old content is the old content still; what it does not hold it can't make up.
        assert (await made(maker, replace(SPEC, adapter_sha256={"ink": sha256(ONE)}))).image == old.image
        assert (await made(maker, SPEC)).image == new.image, "a replay takes what is there"
        with pytest.raises(Conflict, match="replaced"):
            await made(maker, replace(SPEC, adapter_sha256={"ink": "00" * 32}))
    finally:
        maker.close()


def test_serve_knows_an_adapter_by_its_content() -> None:
    asked: list[dict[str, Any]] = []

    class Handle:
        generate = None

        def options(self, **options: Any) -> Handle:
            asked.append(options)
            return self

    client = ImageClient(Handle())  # type: ignore[arg-type]
    for content in ({"ink": sha256(ONE)}, {"ink": sha256(OTHER)}, {}):
        client.generate(replace(SPEC, adapter_sha256=content))
    ids = [options["multiplexed_model_id"] for options in asked if "multiplexed_model_id" in options]
    assert ids == [sha256(ONE), sha256(OTHER)]
    assert first_content(replace(SPEC, adapters=())) is None


@pytest.fixture(scope="module")
def s3() -> Any:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    storage = Storage("s3://bucket/deep", s3_endpoint=f"http://{host}:{port}", s3_region="us-east-1",
                      s3_access_key_id="k", s3_secret_access_key="s")  # fmt: skip
    storage._s3().create_bucket(Bucket="bucket")
    yield storage
    server.stop()


async def test_an_object_store_tells_by_its_tag(s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AdapterStore(s3)
    hashing, read = Storage.sha256_object, []
    monkeypatch.setattr(Storage, "sha256_object", lambda self, key: read.append(key) or hashing(self, key))
    for body in (ONE, OTHER):
        await s3.put_artefact("adapters/水墨 style.safetensors", body)
        for _ in range(2):
            assert await store.hashed(["水墨 style"]) == {"水墨 style": sha256(body)}
        assert store.read("水墨 style") == body
    assert len(read) == 2
    await s3.put_artefact("styles/own.yaml", b"style_id: own\nbase_model: m\nstyle_suffix: a\n")
    styles = Styles(s3)
    assert (await styles.get("own")).style_suffix == "a"
    await s3.put_artefact("styles/own.yaml", b"style_id: own\nbase_model: m\nstyle_suffix: b\n")
    assert (await styles.get("own")).style_suffix == "b"


# --- styles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_settled", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_a_replaced_style_is_another_picture_at_once(
    client: httpx.AsyncClient, house: House, way: Callable[[Path, bytes], None], is_settled: bool, settled: Any
) -> None:
    text = "style_id: own\nbase_model: m\nstyle_suffix: {}\n"
    await house.storage.put_artefact("styles/own.yaml", text.format("aa").encode())
    path = house_path(house) / "styles" / "own.yaml"
    if is_settled:
        settled()
    ids, prompts = [], []
    for suffix in ("aa", "bb", "aa"):
        way(path, text.format(suffix).encode())
        answer = (await client.post("/t2i/generate", json={"prompt": "x", "seed": 3, "style_preset": "own"})).json()
        ids.append(answer["image_id"])
        prompts.append(answer["metadata"]["prompt"])
    assert ids[0] == ids[2] != ids[1]
    assert prompts == ["x, aa", "x, bb", "x, aa"]


def house_path(house: House) -> Path:
    return Path(house.storage.root) / "artefacts"


async def test_a_style_that_is_deleted_or_mended_is_so_at_once(house: House) -> None:
    styles, path = house.services.studio.styles, house_path(house) / "styles" / "own.yaml"
    await house.storage.put_artefact("styles/own.yaml", b"style_id: own")
    assert len((await styles.all())[1]) == 1
    path.write_bytes(b"style_id: own\nbase_model: m\n")
    assert (await styles.all())[1] == []
    await house.storage.put_artefact("styles/second.yml", b"style_id: own\nbase_model: other\n")
    assert "both the style 'own'" in (await styles.all())[1][0]
    path.unlink()
    assert (await styles.get("own")).base_model == "other"


# --- models ---------------------------------------------------------------------------------------------------------

DECISIVE = [
    "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors", "vae/config.json",
    "text_encoder/model.safetensors", "text_encoder_2/config.json", "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json", "model_index.json",
]  # fmt: skip


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.mark.parametrize("is_settled", [False, True])
@pytest.mark.parametrize("file", DECISIVE)
def test_every_file_that_decides_pictures_is_in_a_models_hash(
    copied: Path, file: str, is_settled: bool, settled: Callable[[], None]
) -> None:
    if is_settled:
        settled()
    before, old = model_sha256(str(copied)), (copied / file).read_bytes()
    assert model_sha256(str(copied)) == before
    with_its_old_time(copied / file, old[:-1] + bytes([old[-1] ^ 1]))
    assert model_sha256(str(copied)) != before
    moved_over(copied / file, old)
    assert model_sha256(str(copied)) == before


def test_a_models_hash_is_of_its_content_and_not_of_its_folder(copied: Path, folder: Path, tmp_path: Path) -> None:
    assert model_sha256(str(copied)) == model_sha256(str(folder))
    (copied / "README.md").write_text("a card")
    (copied / ".cache").mkdir()
    (copied / ".cache" / "x.json").write_text("{}")
    assert model_sha256(str(copied)) == model_sha256(str(folder))
    (copied / "unet" / "config.json").rename(copied / "vae" / "other.json")
    assert model_sha256(str(copied)) != model_sha256(str(folder))
    one, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    one.write_bytes(ONE)
    other.write_bytes(ONE)
    assert model_sha256(str(one)) == model_sha256(str(other)) == sha256(ONE)
    other.write_bytes(OTHER)
    assert model_sha256(str(other)) == sha256(OTHER)
    assert model_sha256("some/name-on-the-hub") is None


async def test_a_replica_does_not_paint_for_a_model_that_it_did_not_load(copied: Path) -> None:
    maker = ImageMaker(ImageModel("tiny", str(copied)), EngineLimits(), lambda name: ONE)
    try:
        assert maker.is_current()
        await made(maker, replace(SPEC, model_sha256=model_sha256(str(copied))))
        overwritten(copied / "scheduler" / "scheduler_config.json", b"{}")
        assert not maker.is_current()
        with pytest.raises(Unavailable, match="replaced"):
            await made(maker, replace(SPEC, model_sha256=model_sha256(str(copied))))
    finally:
        maker.close()


# --- vectors of worlds ----------------------------------------------------------------------------------------------


async def test_another_embedder_of_the_same_name_makes_all_vectors_anew(tmp_path: Path) -> None:
    """A part of one model's vectors and a part of another's would be compared with each other."""
    storage, writer = Storage(str(tmp_path)), TableWriter(Storage(str(tmp_path)), "library")
    folder = shutil.copytree(MODELS_DIR / "pocket-embedder", tmp_path / "embedder")
    vectors: dict[int, dict[str, Any]] = {}
    names = []
    for round_, text in enumerate(("brass", "brass", "iron"), start=1):
        if round_ == 2:
            path = folder / "model.safetensors"
            weights = load(path.read_bytes())
            moved_over(path, save({key: value.flip(-1).contiguous() for key, value in weights.items()}))
        embedder = load_embedder(folder)
        names.append(embedder.name)
        lore = f"# Ferry\n\nThe ferry bell is {text}.\n\n# Well\n\nThe well is deep and old.\n"
        pack = Pack(title="W", language="en", documents=(Document("lorebook.md", lore),))
        answer = await ingest(pack, "w", None, True, storage=storage, writer=writer, embedder=embedder)
        assert answer.version == round_
        table = await (await storage.connect()).open_table(chunks_table("w"))
        rows = await table.query().where(valid_at(round_)).to_list()
        for row in rows:
            expected = embedder.encode([f"{row['section']}\n{row['text']}"])[0]
            assert np.asarray(row["vector"]) @ expected > 0.5, (round_, row["text"])
        vectors[round_] = {row["text"]: np.asarray(row["vector"]) for row in rows}
    assert names[0] != names[1] == names[2]
    assert all(not np.allclose(vectors[1][text], vectors[2][text]) for text in vectors[1])
    deep = next(text for text in vectors[2] if "deep" in text)
    assert np.array_equal(vectors[2][deep], vectors[3][deep]), "the same model's vectors are used again"
    await writer.close()


@pytest.mark.parametrize(
    ("stored", "is_it"), [("e@0123", True), ("e", True), ("e@4567", False), ("other", False), ("", False)]
)
def test_a_world_knows_whose_its_vectors_are(stored: str, is_it: bool) -> None:
    embedder: Any = SimpleNamespace(name="e@0123")
    assert is_name_of(stored, embedder) == is_it


# --- marks ----------------------------------------------------------------------------------------------------------


def test_a_file_that_has_just_been_written_has_no_mark(tmp_path: Path, settled: Callable[[], None]) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1")
    assert file_mark(path.stat()) is None
    settled()
    marks = {file_mark(path.stat())}
    for way in WAYS:
        way(path, b"2")
        marks.add(file_mark(path.stat()))
    assert len(marks) == 1 + len(WAYS)
    assert None not in marks
