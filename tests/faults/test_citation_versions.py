"""A citation stays what it was: whatever becomes of a world, the id that a turn cited leads to the text it cited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaforge.datasets.store.tables import chunks_table
from sagaforge.datasets.worlds import ingest as ingestion
from sagaforge.datasets.worlds import version_lease
from sagaforge.http.routes import ROUTES
from tests.support.http_client import check_problem
from tests.support.real_library import Library, open_library
from tests.support.scripted_bundle import Bundle, holodeck, serving

BRASS = "The ferry bell is brass."
IRON = "The ferry bell is iron."
ROPE = "Ropes hang from the quay."
FOG = "Fog comes at noon."


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    opened = await open_library(tmp_path)
    yield opened
    await opened.client.aclose()
    await opened.writer.close()


async def num_rows(library: Library) -> int:
    table = await (await library.house.storage.connect()).open_table(chunks_table(library.world))
    return await table.count_rows()


# --- ids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uploads",
    [
        pytest.param([[IRON]], id="overwritten"),
        pytest.param([[IRON], [BRASS], [IRON]], id="to and fro"),
        pytest.param([[ROPE, BRASS]], id="inserted above"),
        pytest.param([[FOG, BRASS, ROPE], [ROPE, FOG, BRASS]], id="reordered"),
        pytest.param([[ROPE]], id="taken out"),
        pytest.param([[ROPE], [ROPE, FOG], [IRON, ROPE]], id="taken out, and others come"),
        pytest.param([[("Another title", BRASS)]], id="under another heading"),
        pytest.param([[BRASS, BRASS]], id="doubled"),
        pytest.param([[f"{BRASS} {ROPE}"]], id="grown"),
    ],
)
async def test_a_cited_id_keeps_its_text(library: Library, uploads: list[list[Any]]) -> None:
    await library.upload(BRASS)
    turn = await library.turn(BRASS)
    (chunk_id,) = turn["citations"]
    for sections in uploads:
        await library.upload(*sections)
        for query in ({}, {"version": 1}, {"session_id": turn["session_id"]}):
            assert (await library.chunk(chunk_id, **query))["text"] == BRASS
        (found,) = [one for one in await library.found(BRASS, version=1) if one["text"] == BRASS]
        assert found["id"] == chunk_id
        current = await library.found(" ".join([BRASS, IRON, ROPE, FOG]))
        assert len({chunk["id"] for chunk in current}) == len(sections)
        assert all(chunk["text"] == BRASS for chunk in current if chunk["id"] == chunk_id)


@pytest.mark.parametrize(
    "sections",
    [[FOG, BRASS, ROPE], [BRASS, FOG, ROPE], [BRASS, ROPE, FOG], [ROPE, BRASS, FOG], [ROPE, FOG, BRASS, IRON]],
)
async def test_what_did_not_change_keeps_its_id_and_its_row(library: Library, sections: list[str]) -> None:
    await library.upload(BRASS, ROPE)
    before = await library.ids(1, [BRASS, ROPE])
    assert (await library.upload(*sections))["version"] == 2
    after = await library.ids(2, sections)
    assert {text: after[text] for text in before} == before
    assert len(set(after.values())) == len(sections)
    assert await num_rows(library) == len(sections), "only what is new has a new row"


async def test_one_edit_of_a_long_section_renames_only_what_it_touches(library: Library) -> None:
    sentences = [f"Wreck number {n} lies {n * 7} fathoms under the long grey water of the reach." for n in range(200)]
    await library.upload(("Wrecks", " ".join(sentences)))
    before = {chunk["text"]: chunk["id"] for chunk in await library.found("wreck", version=1)}
    sentences[150] = sentences[150].replace("grey", "blue")
    await library.upload(("Wrecks", " ".join(sentences)))
    after = {chunk["text"]: chunk["id"] for chunk in await library.found("wreck", version=2)}
    changed = [text for text in after if text not in before]
    assert len(before) == len(after) > 10
    assert 1 <= len(changed) <= 2
    assert all("number 150 " in text for text in changed)
    assert all(after[text] == before[text] for text in after if text in before)
    assert not {after[text] for text in changed} & set(before.values())


async def test_a_text_that_comes_back_has_its_old_id(library: Library) -> None:
    await library.upload(BRASS)
    (chunk_id,) = (await library.ids(1, [BRASS])).values()
    for sections in ([IRON], [ROPE], [BRASS, FOG]):
        await library.upload(*sections)
    assert (await library.ids(4, [BRASS]))[BRASS] == chunk_id
    chunk = await library.chunk(chunk_id)
    assert chunk["versions"] == [{"first": 1, "last": 1}, {"first": 4, "last": None}]
    assert (chunk["world_id"], chunk["version"]) == ("w", 4)
    assert (await library.chunk(chunk_id, version=1))["version"] == 1
    assert "versions 1 to 1, 4 to 4 have it" in (await library.chunk(chunk_id, 404, version=2))["detail"]


async def test_a_licence_is_of_its_version(library: Library) -> None:
    await library.upload(BRASS, license="CC0-1.0")
    await library.upload(BRASS, license="MIT")
    (chunk_id,) = (await library.ids(2, [BRASS])).values()
    licences = [(await library.chunk(chunk_id, **query))["metadata"]["license"] for query in ({}, {"version": 1})]
    assert licences == ["MIT", "CC0-1.0"]
    assert (await library.chunk(chunk_id))["versions"] == [{"first": 1, "last": None}]


async def test_ids_that_an_older_release_gave_twice(library: Library) -> None:
    await library.upload(BRASS)
    session_id = (await library.turn(BRASS))["session_id"]
    await library.upload(IRON)
    table = await (await library.house.storage.connect()).open_table(chunks_table("w"))
    await table.update(where="valid_from = 2", updates_sql={"id": "replace(id, 'section_2', 'section_1')"})
    (chunk_id,) = (await library.ids(1, [BRASS])).values()
    assert await library.ids(2, [IRON]) == {IRON: chunk_id}, "the storage is not as an older release left it"
    for query, text in (
        ({}, IRON),
        ({"version": 2}, IRON),
        ({"version": 1}, BRASS),
        ({"session_id": session_id}, BRASS),
    ):
        assert (await library.chunk(chunk_id, **query))["text"] == text
    assert (await library.chunk(chunk_id))["versions"] == [{"first": 2, "last": None}]
    await library.upload(BRASS, IRON)
    ids = await library.ids(3, [BRASS, IRON])
    assert ids[IRON] == chunk_id, "an id goes on with the text that had it last"
    assert ids[BRASS] != chunk_id
    assert (await library.chunk(chunk_id))["text"] == IRON


# --- versions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [3, 99, 2**31 - 1])
async def test_a_version_that_is_not_there_is_said(library: Library, version: int) -> None:
    await library.upload(BRASS)
    await library.upload(IRON)
    (chunk_id,) = (await library.ids(1, [BRASS])).values()
    answers = [
        await library.retrieve("bell", 404, version=version),
        await library.get("/worlds/w", 404, version=version),
        await library.chunk(chunk_id, 404, version=version),
    ]
    for problem in answers:
        assert problem["code"] == "not_found"
        assert f"no version {version}" in problem["detail"]
        assert "its newest is 2" in problem["detail"]
    # Nothing of it stays: what is published next is found at once.
    await library.upload(ROPE)
    assert [chunk["text"] for chunk in await library.found(ROPE)] == [ROPE]


@pytest.mark.parametrize("version", [0, -1, 2**31, 10**30, 1.5, "one", "", "1e3"])
async def test_a_version_is_a_number_from_one(library: Library, version: Any) -> None:
    await library.upload(BRASS)
    (chunk_id,) = (await library.ids(1, [BRASS])).values()
    for problem in (
        await library.retrieve("bell", 422, version=version),
        await library.get("/worlds/w", 422, version=version),
        await library.chunk(chunk_id, 422, version=version),
    ):
        assert [error["field"] for error in problem["errors"]] == ["version"]


async def test_every_reader_goes_by_a_session_s_version(library: Library) -> None:
    await library.upload(BRASS, license="CC0-1.0")
    session_id = (await library.turn(BRASS))["session_id"]
    await library.upload(IRON, ROPE, license="MIT")
    fresh = (await library.turn(IRON))["session_id"]
    for session, version, texts in ((session_id, 1, {BRASS}), (fresh, 2, {IRON, ROPE})):
        world = await library.get("/worlds/w", session_id=session)
        assert (world["version"], world["total_chunks"]) == (version, len(texts))
        found = await library.retrieve("ferry bell ropes", session_id=session)
        assert (found["version"], {chunk["text"] for chunk in found["chunks"]}) == (version, texts)
        assert (await library.turn("bell", session_id=session))["game_state"]["world_version"] == version
    assert (await library.get("/worlds/w", version=1))["license"] == "CC0-1.0"
    assert (await library.get("/worlds/w"))["version"] == 2


async def test_a_session_s_version_is_asked_of_its_own_world(library: Library) -> None:
    await library.upload(BRASS)
    session_id = (await library.turn(BRASS))["session_id"]
    await library.upload(IRON)
    problem = check_problem(
        await library.client.get("/worlds/harbour", params={"session_id": session_id}), 422, "invalid_input"
    )
    assert "plays in the world 'w'" in problem["detail"]
    assert "no session 'nobody'" in (await library.get("/worlds/w", 404, session_id="nobody"))["detail"]
    disagreeing = await library.get("/worlds/w", 422, session_id=session_id, version=2)
    assert "plays in version 1" in disagreeing["detail"]
    assert (await library.get("/worlds/w", session_id=session_id, version=1))["version"] == 1


async def test_an_id_of_another_world_is_not_found(library: Library) -> None:
    await library.upload(BRASS)
    (chunk_id,) = (await library.ids(1, [BRASS])).values()
    problem = check_problem(await library.client.get(f"/worlds/harbour/chunks/{chunk_id}"), 404, "not_found")
    assert "'harbour' has no chunk" in problem["detail"]


@pytest.mark.parametrize(
    ("chunk_id", "status"),
    [("doc_1@section_1:chunk_1", 404), ("a%27%20OR%201=1", 422), ("%25", 422), ("doc_1@section_1:chunk_1%23", 422),
     ("x" * 121, 422), ("%E9%90%98", 422), ("doc_1%40section_1%3Achunk_1", 404), ("a%2Fb", 404)],
)  # fmt: skip
async def test_an_odd_id_is_a_clear_4xx(library: Library, chunk_id: str, status: int) -> None:
    response = await library.client.get(f"/worlds/harbour/chunks/{chunk_id}?version=1")
    check_problem(response, status, "not_found" if status == 404 else "invalid_input")


# --- what turns hold -----------------------------------------------------------------------------------------------


async def test_all_that_a_turn_cites_can_be_read_after_an_overwrite(library: Library) -> None:
    library.house.llm.will('{"narration": [{"lore": [1], "text": "' + BRASS + '"}, {"lore": [1], "text": "Dragons!"}], '
        '"dialogues": [], "choices": [{"text": "Go.", "if": [], "then": []}, {"text": "Stay.", "if": [], "then": []}], '
        '"changes": [{"op": "set", "kind": "flag", "name": "rung", "value": 1}]}')  # fmt: skip
    body = {"message": BRASS, "world_id": "w"}
    await library.upload(BRASS, ROPE)
    turn = (await library.client.post("/llm/turn", json=body)).json()
    claimed = {chunk_id for sentence in turn["sentences"] for chunk_id in sentence["claimed"]}
    timeline = {chunk_id for event in turn["game_state"]["timeline"] for chunk_id in event["citations"]}
    assert claimed
    assert timeline
    await library.upload(ROPE, IRON)
    for chunk_id in claimed | timeline | set(turn["citations"]):
        assert (await library.chunk(chunk_id, session_id=turn["session_id"]))["text"] == BRASS


async def test_a_turn_sent_again_after_an_overwrite_cites_what_it_cited(library: Library) -> None:
    await library.upload(BRASS)
    first = await library.turn(BRASS, key="k")
    await library.upload(IRON)
    again = await library.turn(BRASS, key="k")
    assert again == first
    assert again["game_state"]["world_version"] == 1
    (chunk_id,) = again["citations"]
    assert (await library.chunk(chunk_id, session_id=again["session_id"]))["text"] == BRASS


async def test_reading_while_the_world_is_overwritten(library: Library) -> None:
    await library.upload(BRASS)
    (chunk_id,) = (await library.ids(1, [BRASS])).values()
    is_done = False

    async def read() -> int:
        num_reads = 0
        while not is_done:
            for query in ({}, {"version": 1}):
                assert (await library.chunk(chunk_id, **query))["text"] == BRASS
            assert [chunk["text"] for chunk in await library.found("bell", version=1)] == [BRASS]
            num_reads += 1
        return num_reads

    reading = asyncio.create_task(read())
    for sections in ([IRON], [ROPE, IRON], [BRASS], [FOG]):
        await library.upload(*sections)
    is_done = True
    assert await reading > 0


async def test_a_published_version_is_not_taken_over(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two uploads that began on one version, the slow one must not work over what the fast one published."""
    monkeypatch.setattr(version_lease, "CLAIM_EXPIRES_S", 0.0)
    await library.upload(BRASS)
    compare, has_compared, may_go_on = ingestion._compare, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        plan = await compare(*args)
        has_compared.set()
        await may_go_on.wait()
        return plan

    monkeypatch.setattr(ingestion, "_compare", slow)
    late = asyncio.create_task(library.upload(ROPE, status=409))
    await has_compared.wait()
    monkeypatch.setattr(ingestion, "_compare", compare)
    assert (await library.upload(IRON))["version"] == 2
    may_go_on.set()
    assert "published first" in (await late)["detail"]
    assert [chunk["text"] for chunk in await library.found("bell ropes")] == [IRON]
    assert (await library.get("/worlds/w"))["total_chunks"] == 1


# --- queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "field", "hint"),
    [
        ("/worlds?page=2", "page", "It has none."),
        ("/worlds/harbour?verison=1", "verison", "Did you mean version?"),
        ("/worlds/harbour?world_id=w", "world_id", "version, session_id"),
        ("/worlds/harbour/chunks/doc_1@section_1:chunk_1?sessionid=1", "sessionid", "Did you mean session_id?"),
        ("/worlds/harbour?version=1&version=1", "version", "twice"),
        ("/story/nobody?turn=3", "turn", "It has none."),
        ("/images?limt=3", "limt", "Did you mean limit?"),
        ("/images?limit=3&limit=4", "limit", "twice"),
        ("/images/abababababababababababababababab.png?size=3", "size", "It has none."),
        ("/images/abababababababababababababababab/thumbnail?Size=3", "Size", "Did you mean size?"),
        ("/t2i/styles?x", "x", "It has none."),
        ("/t2i/models?profile=gpu", "profile", "It has none."),
        ("/v1/models?limit=3", "limit", "It has none."),
    ],
)
async def test_an_unknown_query_parameter_is_named(client: httpx.AsyncClient, path: str, field: str, hint: str) -> None:
    problem = check_problem(await client.get(path), 422, "invalid_input")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert hint in problem["detail"]


async def test_no_route_of_the_table_passes_over_a_parameter(client: httpx.AsyncClient) -> None:
    for route in ROUTES:
        path = route.path.format(world_id="harbour", chunk_id="c", session_id="s", image_id="ab12" * 8)
        response = await client.request(route.method, path, params={"zzz": "1"})
        assert check_problem(response, 422, "invalid_input")["errors"][0]["field"] == "zzz", route.name
    assert (await client.get("/worlds/harbour")).status_code == 200, "nothing was done"


@pytest.mark.parametrize(
    "path", ["/healthz?from=balancer", "/health?x", "/readyz?t=1&t=2", "/gallery?utm=1", "/docs?x"]
)
async def test_probes_and_pages_take_what_others_add(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


# --- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served_bundle() -> Any:
    with serving() as scripted:
        yield scripted


@pytest.fixture
def bundle(served_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    served_bundle.reset()
    monkeypatch.setenv("SAGAFORGE_URL", served_bundle.url)
    return served_bundle


def test_lore_is_read_at_the_version_of_the_turn(bundle: Bundle) -> None:
    shown = holodeck("play", "harbour", "--no-stream", script="hello\n/lore\n").stdout
    assert "[1] Mara" in shown
    assert bundle.queries == [{}, {"version": "3"}, {"version": "3"}]


def test_a_resumed_session_is_shown_as_it_knows_the_world(bundle: Bundle) -> None:
    bundle.has_story = True
    shown = holodeck("play", "harbour", "--session", "s1", script="/lore\n").stdout
    assert "[2] The light" in shown
    assert bundle.queries == [{"session_id": "s1"}, {"version": "3"}, {"version": "3"}]


def test_lore_that_was_found_for_a_lost_telling_is_asked_for_anew(bundle: Bundle) -> None:
    bundle.script = ["restart"]
    holodeck("play", "harbour", script="hello\n/lore\n")
    assert bundle.queries == [{}, {"version": "3"}, {"version": "3"}]


@pytest.mark.parametrize(
    ("options", "query"),
    [([], {}), (["--version", "2"], {"version": 2}), (["--session", "s1"], {"session_id": "s1"})],
)
def test_world_commands_name_a_version(bundle: Bundle, options: list[str], query: dict[str, Any]) -> None:
    holodeck("world", "show", "harbour", *options)
    assert bundle.queries.pop() == {name: str(value) for name, value in query.items()}
    shown = holodeck("world", "search", "harbour", "clock", *options).stdout
    body = bundle.queries.pop()
    assert {name: body[name] for name in ("version", "session_id") if name in body} == query
    assert f"found in version {query.get('version', 3)}" in shown
