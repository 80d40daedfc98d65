"""Retrieval on real LanceDB tables: filters, scripts, hostile queries, and the questions of both sample worlds."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path

import pytest

from sagaforge.datasets.packs.pack import read_upload
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.datasets.worlds.ingest import ingest
from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.deployments.retrieval.index import LoreIndex
from sagaforge.deployments.retrieval.lore_lines import LineSelector
from sagaforge.errors import InvalidInput, NotFound
from sagaforge.pocket.line_matcher import load_line_matcher
from sagaforge.profiles import PROFILES
from sagaforge.storage import Storage
from tests.support.paths import ROOT

SAMPLES = ROOT / "datasets" / "samples"
WORLDS = ("lantern_reach", "neo_taipei")
# Of 40 questions, how many must have their answer in the first three chunks: 0.9, for questions as players ask them.
# The oblique set avoids the lore's words and names on purpose; the MiniLM that the pocket embedder is distilled from
# finds 28 to 34 of those by itself, so its floor only keeps us from losing ground.
FLOORS = {"lantern_reach": 36, "neo_taipei": 36, "lantern_reach_oblique": 27}


def zipped(folder: Path) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    buffer.seek(0)
    return buffer


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    storage = Storage(str(tmp_path_factory.mktemp("lore")))

    async def load() -> None:
        writer = TableWriter(storage, "library")
        embedder = load_embedder("pocket-embedder")
        for world_id in WORLDS:
            pack = read_upload(f"{world_id}.zip", zipped(SAMPLES / world_id))
            await ingest(pack, world_id, "Apache-2.0", False, storage=storage, writer=writer, embedder=embedder)
        await writer.close()

    asyncio.run(load())
    return storage


async def num_found(storage: Storage, questions: str, *, rerank: bool = True, **weights: float) -> tuple[int, int]:
    """How many of a set's questions have their answer in the first three chunks, and in the first five."""
    world_id = questions.removesuffix("_oblique")
    index = LoreIndex(storage, load_embedder("pocket-embedder"), reranker=None, **weights)
    lines = (ROOT / "tests" / "data" / f"questions_{questions}.jsonl").read_text(encoding="utf-8").splitlines()
    in_three = in_five = 0
    for question in map(json.loads, lines):
        chunks = await index.search(world_id, 1, question["question"], 5, rerank)
        holding = [question["answer"] in chunk.text for chunk in chunks]
        in_three, in_five = in_three + any(holding[:3]), in_five + any(holding)
    return in_three, in_five


@pytest.mark.parametrize("questions", FLOORS)
async def test_answers_are_among_the_first_three(storage: Storage, questions: str) -> None:
    in_three, _ = await num_found(storage, questions)
    assert in_three >= FLOORS[questions]


@pytest.mark.parametrize("world_id", WORLDS)
async def test_the_fusion_is_not_worse_than_either_arm(storage: Storage, world_id: str) -> None:
    fused = await num_found(storage, world_id, rerank=False)
    lexical = await num_found(storage, world_id, rerank=False, vector_weight=0.0)
    semantic = await num_found(storage, world_id, rerank=False, lexical_weight=0.0)
    assert fused[0] >= max(lexical[0], semantic[0])
    assert fused[1] >= max(lexical[1], semantic[1])


async def test_either_script_finds_the_other_and_is_shown_as_written(storage: Storage) -> None:
    index = LoreIndex(storage, load_embedder("pocket-embedder"))
    traditional = await index.search("neo_taipei", 1, "龍山寺地下的抽水機", 3)
    simplified = await index.search("neo_taipei", 1, "龙山寺地下的抽水机", 3)
    assert [chunk.id for chunk in traditional] == [chunk.id for chunk in simplified]
    assert "十二台抽水機" in simplified[0].text


async def test_one_document_only(storage: Storage) -> None:
    index = LoreIndex(storage, load_embedder("pocket-embedder"))
    for source in ("characters.yaml", "scenes.yaml"):
        chunks = await index.search("lantern_reach", 1, "Ottoline's lamp", 10, source=source)
        assert len(chunks) >= 6
        assert {chunk.metadata.source for chunk in chunks} == {source}
    assert await index.search("lantern_reach", 1, "lamp", 5, source="' OR '1'='1") == []


async def test_scores_fall_and_chunks_are_whole(storage: Storage) -> None:
    index = LoreIndex(storage, load_embedder("pocket-embedder"))
    for rerank in (False, True):
        chunks = await index.search("lantern_reach", 1, "Who keeps the Gannet Light?", 10, rerank)
        scores = [chunk.score for chunk in chunks]
        assert len(chunks) == 10
        assert len({chunk.id for chunk in chunks}) == 10
        assert scores == sorted(scores, reverse=True)
        assert 0 <= scores[-1] <= scores[0] <= 1
        assert chunks[0].metadata.license == "Apache-2.0"
        assert "#" not in chunks[0].id


@pytest.mark.parametrize(
    "query",
    ['"', "lamp AND NOT (", "terms:lamp^9~2 *", "' OR 1=1 --", "\\", "lamp " * 900, "🕯️", "%_", "{}[]", "+-&&||!", "\x01", "燈" * 500],
)  # fmt: skip
async def test_no_query_is_syntax(storage: Storage, query: str) -> None:
    index = LoreIndex(storage, load_embedder("pocket-embedder"))
    for rerank in (False, True):
        assert len(await index.search("lantern_reach", 1, query, 3, rerank)) <= 3


async def test_what_is_not_there(storage: Storage) -> None:
    index = LoreIndex(storage, load_embedder("pocket-embedder"))
    with pytest.raises(NotFound, match="GET /worlds"):
        await index.search("atlantis", 1, "lamp")
    with pytest.raises(InvalidInput):
        await index.search("lantern_reach", 1, "  ")


@pytest.mark.parametrize(
    ("world", "num_first", "num_among_three"),
    # Of 40 questions, for the sentence that answers; by BM25 alone English had 16 and 28.
    [("lantern_reach", 24, 34), ("neo_taipei", 16, 30)],
)
async def test_the_pocket_embedder_brings_answers_to_the_top(
    storage: Storage, world: str, num_first: int, num_among_three: int
) -> None:
    embedder = load_embedder("pocket-embedder")
    index, selector = LoreIndex(storage, embedder), LineSelector(embedder, load_line_matcher())
    places = []
    for line in (ROOT / "tests" / "data" / f"questions_{world}.jsonl").read_text("utf-8").splitlines():
        asked = json.loads(line)
        chunks = await index.search(world, 1, asked["question"], top_k=6, rerank=True)
        lines = await selector.select(chunks, asked["question"], max_lines=8, max_chars=4000)
        start = asked["answer"][:25]
        holding = [n for n, line in enumerate(lines) if start in line.text or line.text[:25] in asked["answer"]]
        places.append(holding[0] if holding else 99)
    print(f"{world}: first {places.count(0)}, among three {sum(place < 3 for place in places)} of {len(places)}")
    assert places.count(0) >= num_first
    assert sum(place < 3 for place in places) >= num_among_three


async def num_with_lines(storage: Storage, questions: list[str]) -> int:
    """How many questions about `lantern_reach` get lore into the prompt of the pocket profile."""
    profile = PROFILES["pocket"]
    embedder = load_embedder("pocket-embedder")
    index, selector = LoreIndex(storage, embedder), LineSelector(embedder, load_line_matcher())
    num = 0
    for question in questions:
        chunks = await index.search("lantern_reach", 1, question, top_k=profile.retrieve_top_k, rerank=True)
        num += bool(
            await selector.select(
                chunks,
                question,
                max_lines=profile.lore_max_lines,
                max_chars=profile.lore_max_chars,
                min_confidence=profile.lore_min_confidence,
            )
        )
    return num


async def test_what_the_lore_does_not_know_gets_no_line(storage: Storage) -> None:
    # These chose the figures of `sagaforge.deployments.retrieval.confidence`.
    questions = (ROOT / "tests" / "data" / "questions_out_of_world.txt").read_text("utf-8").splitlines()
    assert len(questions) == 147
    assert await num_with_lines(storage, questions) <= 0.05 * len(questions)


async def test_nor_does_it_for_questions_that_chose_nothing(storage: Storage) -> None:
    """Eighty that helpers wrote who had seen no code; docs/citations.md has what the bundle answers to them."""
    names = ("out_of_world_en.txt", "out_of_world_en_2.txt")
    questions = [line for name in names for line in (ROOT / "tests" / "data" / name).read_text("utf-8").splitlines()]
    assert len(questions) == 80
    assert await num_with_lines(storage, questions) <= 0.05 * len(questions)


@pytest.mark.parametrize(("name", "least"), [("lantern_reach", 40), ("lantern_reach_oblique", 27)])
async def test_what_it_knows_keeps_its_lines(storage: Storage, name: str, least: int) -> None:
    lines = (ROOT / "tests" / "data" / f"questions_{name}.jsonl").read_text("utf-8").splitlines()
    assert await num_with_lines(storage, [json.loads(line)["question"] for line in lines]) >= least
