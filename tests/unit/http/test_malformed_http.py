"""Hundreds of malformed requests, generated from a seed: each is a clear 4xx, and none leaves anything behind.

They go to the ASGI application as bytes, because an HTTP client would mend half of them on the way.
"""

from __future__ import annotations

import json
import random
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union
from urllib.parse import quote, unquote

import pytest
from fastapi import FastAPI
from pydantic.fields import FieldInfo

from sagaforge.http.problems import MEDIA_TYPE
from sagaforge.http.routes import ROUTES, Route
from tests.support.fakes import WORLD_ID, House
from tests.support.http_client import PROBLEM_KEYS, app_of
from tests.unit.imaging.test_receipts import RECEIPT

SEED = 20
MIN_REQUESTS = 300
BOUNDARY = "zq9"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"

GOOD: dict[str, dict[str, Any]] = {
    "retrieve": {"world_id": WORLD_ID, "query": "Who winds the clock?"},
    "take_turn": {"world_id": WORLD_ID, "message": "Who winds the clock?"},
    "chat_completions": {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]},
    "upload": {"world_id": "reef", "license": "CC0-1.0", "overwrite": "true"},
    "show_world": {"world_id": WORLD_ID},
    "delete_world": {"world_id": WORLD_ID},
    "show_chunk": {"world_id": WORLD_ID, "chunk_id": "doc_1@section_1:chunk_1"},
    "show_session": {"session_id": "nobody"},
    "generate_image": {"prompt": "a harbour", "steps": 1},
    "replay_image": RECEIPT.model_dump(mode="json", exclude={"adapters"}),
    "list_images": {},
    "show_image": {"image_id": "ab12" * 8},
    "image_file": {"image_id": "ab12" * 8},
    "image_thumbnail": {"image_id": "ab12" * 8},
    "image_generations": {"prompt": "a harbour", "steps": 1},
}
WITH_FIELDS = [route for route in ROUTES if route.function.request is not None]
JSON_ROWS = [route for route in WITH_FIELDS if route.method == "POST" and route.function.cost != "ingest"]
PATH_ROWS = [route for route in WITH_FIELDS if route.method != "POST"]
(UPLOAD,) = [route for route in ROUTES if route.function.cost == "ingest"]


@dataclass
class Sent:
    """One request as it stands on the wire. `path` is still percent-encoded."""

    what: str
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str | bytes] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.what}: {self.method} {self.path[:80]} {self.body[:120]!r}"


@dataclass
class Got:
    status: int
    headers: dict[str, str]
    body: bytes


async def send(app: FastAPI, sent: Sent) -> Got:
    path, _, query = sent.path.partition("?")
    headers = {"host": "localhost", "content-length": str(len(sent.body)), **sent.headers}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": sent.method, "scheme": "http",
        "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.lower().encode(), v if isinstance(v, bytes) else v.encode()) for name, v in headers.items()],
        "client": ("127.0.0.1", 5000), "server": ("bundle", 80),
    }  # fmt: skip
    middle = len(sent.body) // 2
    incoming = [
        {"type": "http.request", "body": sent.body[:middle], "more_body": True},
        {"type": "http.request", "body": sent.body[middle:], "more_body": False},
    ]
    outgoing: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def keep(message: Any) -> None:
        outgoing.append(message)

    await app(scope, receive, keep)
    start = outgoing[0]
    body = b"".join(message.get("body", b"") for message in outgoing[1:])
    return Got(start["status"], {k.decode().lower(): v.decode() for k, v in start["headers"]}, body)


# --- making them ------------------------------------------------------------------------------------------------------


def json_of(route: Route, body: Any, what: str, **headers: str) -> Sent:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json", **{name.replace("_", "-"): v for name, v in headers.items()}}
    return Sent(f"{route.name}: {what}", route.method, route.path, content, dict(given))


def form_of(fields: list[tuple[str, Any]], what: str, *, file: bool = True) -> Sent:
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields]
    if file:
        parts.append('Content-Disposition: form-data; name="file"; filename="lore.md"\r\n\r\n# Lore')
    body = "".join(f"--{BOUNDARY}\r\n{part}\r\n" for part in parts) + f"--{BOUNDARY}--\r\n"
    content = body.encode("utf-8", "surrogatepass")
    return Sent(f"upload: {what}", "POST", UPLOAD.path, content, {"content-type": MULTIPART})


def path_of(route: Route, **values: str) -> str:
    given = {**GOOD[route.name], **values}
    return route.path.format(**{name: quote(value, safe="") for name, value in given.items()})


BAD_IDS = [
    "", " ", ".", "..", "../x", "a/b", "a\\b", "a b", "é", "世界", "a\0", "a\n", "-a", "_a", "%2e%2e", "a'--", "x" * 65,
    "x" * 50_000, "\u202e", "a;b", "a?b", "*",
]  # fmt: skip
NEVER_TEXT = [5, -1.5, True, [], {}, ["a"], {"a": 1}]
NEVER_INT = ["five", "", "1e3", "2", 1.5, 2.0, True, [], {}, [1], 10**30, -(10**30)]
NEVER_FLOAT = ["warm", "", "0.5", True, [], {}, [0.5], 10**30]
NEVER_BOOL = ["perhaps", "", "true", 0, 1, 7, -1, 2.5, [], {}, [True]]
NEVER_LIST = ["a", "", 5, True, {}, {"0": {}}, [], [[]], ["a"], [None], [5, {}]]
TEXTS: dict[str, list[Any]] = {"stop": ["a", ["a"]], "bad_words": [["a"]]}  # lists of texts; of one, its text alone
NEVER_DICT = ["a", "", 5, True, [], [{}]]
NEVER_TIME = ["noon", "", [], {}, "2026-13-01", 5, 1.5, True]


def wrong_values(info: FieldInfo) -> list[Any]:
    """Values that no reading of the field's type admits, whatever its own checks are."""
    options = _options(info.annotation)
    values: list[Any] = [] if type(None) in options else [None]
    (kind,) = options - {type(None)}
    if kind is str:
        return [*values, *NEVER_TEXT]
    by_kind = {int: NEVER_INT, float: NEVER_FLOAT, bool: NEVER_BOOL, dict: NEVER_DICT, datetime: NEVER_TIME}
    allowed = [[]] if info.default_factory is list or type(None) in options else []
    return [*values, *(value for value in by_kind.get(kind, NEVER_LIST) if value not in allowed)]


def _options(annotation: Any) -> set[Any]:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _options(typing.get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {kind for option in typing.get_args(annotation) for kind in _options(option)}
    return {origin or annotation}


def wrong_types(rng: random.Random) -> Iterator[Sent]:
    for route in JSON_ROWS:
        assert route.function.request is not None
        for name, info in route.function.request.model_fields.items():
            for value in wrong_values(info):
                if value not in TEXTS.get(name, []):
                    yield json_of(route, {**GOOD[route.name], name: value}, f"{name} is {value!r:.40}")
        for whole in (None, 5, "text", [], [GOOD[route.name]], True, [[[]]]):
            yield json_of(route, whole, f"the body is {whole!r:.40}")


def bad_identifiers(rng: random.Random) -> Iterator[Sent]:
    for route in (JSON_ROWS[0], JSON_ROWS[1]):
        assert route.function.request is not None
        for name in route.function.request.model_fields:
            for value in BAD_IDS if name.endswith("_id") else []:
                yield json_of(route, {**GOOD[route.name], name: value}, f"{name} is {value!r:.40}")
    for value in BAD_IDS:
        yield form_of([("world_id", value)], f"world_id is {value!r:.40}")


def missing_and_extra(rng: random.Random) -> Iterator[Sent]:
    for route in JSON_ROWS:
        assert route.function.request is not None
        good = GOOD[route.name]
        for name, info in route.function.request.model_fields.items():
            if info.is_required():
                yield json_of(route, {k: v for k, v in good.items() if k != name}, f"without {name}")
                yield json_of(route, {**{k: v for k, v in good.items() if k != name}, name.upper(): good[name]}, name)
        yield json_of(route, {}, "an empty object")
        if route.function.request.model_config.get("extra") == "allow":
            continue  # the engine's own fields
        for name in ("sesion_id", "", "__class__", "x" * 100_000, "世界", "model_config", "\u202e", f"f{rng.random()}"):
            yield json_of(route, {**good, name: 1}, f"extra {name[:20]!r}")
        yield json_of(route, {**good, **{f"f{n}": n for n in range(5000)}}, "thousands of extra fields")
    good_form = list(GOOD["upload"].items())
    for name in ("overwite", "", "world_id ", "file2", "x" * 5000):
        yield form_of([*good_form, (name, "true")], f"extra {name[:20]!r}")
    yield form_of([], "no fields")
    yield form_of(good_form, "no file", file=False)
    yield form_of([*good_form, ("file", "text, not a file")], "a file and a field of its name")
    yield form_of([*good_form, ("file", "text, not a file")], "a field in the file's place", file=False)
    yield form_of([*good_form, ("world_id", "cliff")], "a field twice")
    for name, value in [("overwrite", "perhaps"), ("overwrite", "2"), ("license", "x" * 65), ("license", "a\0b")]:
        yield form_of([("world_id", "reef"), (name, value)], f"{name} is {value[:20]!r}")
    for value in ("世界", "<b>", "\u202e", "' OR 1=1"):
        yield form_of([("world_id", "reef"), ("license", value)], f"license is {value!r}")


def huge(rng: random.Random) -> Iterator[Sent]:
    for route in JSON_ROWS:
        good = GOOD[route.name]
        for name, value in good.items():
            big = "x" * rng.randrange(50_000, 900_000)
            yield json_of(route, {**good, name: big if isinstance(value, str) else [{}] * 1001}, f"a huge {name}")
        yield json_of(route, {**good, "more": "x" * 1_100_000}, "over the limit")
        yield json_of(route, b" " * 1_100_000, "blanks over the limit")
        for digits in ("9" * 5000, "-" + "9" * 5000, "1" + "0" * 400_000):
            yield json_of(route, with_raw(good, "seed", digits), "a number of thousands of digits")
    for length in ("9" * 18, "9" * 5000, str(10**9)):
        yield json_of(JSON_ROWS[0], GOOD[JSON_ROWS[0].name], "a huge Content-Length", content_length=length)


def with_raw(body: dict[str, Any], name: str, raw: str) -> bytes:
    return (json.dumps(body)[:-1] + f', "{name}": {raw}}}').encode()


def not_quite_json(rng: random.Random) -> Iterator[Sent]:
    for route in JSON_ROWS:
        good = GOOD[route.name]
        text = json.dumps(good)
        for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "+1", ".5", "1.", "0x10", "1_000"):
            yield json_of(route, with_raw(good, "temperature", number), number)
        for depth in (150, 500, 950, 10_000, 100_000):
            for opening, closing in ("[]", ('{"a":', "}")):
                nested = opening * depth + ("1" if opening != "[" else "") + closing * depth
                yield json_of(route, with_raw(good, "metadata", nested), f"{depth} levels of {opening}")
        yield json_of(route, b"[" * 10_000, "10,000 levels left open")
        first = next(iter(good))
        yield json_of(route, with_raw(good, first, json.dumps(good[first])), f"{first} twice")
        yield json_of(route, with_raw(good, "metadata", '{"a": 1, "a": 2}'), "a key twice inside")
        for at in sorted(rng.sample(range(1, len(text)), 8)):
            yield json_of(route, text[:at].encode(), f"cut off at {at}")
        for junk in ("", " ", "{", "}", "'", text + text, text + ",", text.replace('"', "'"), "{a: 1}", "// no\n" + text,
                     text.replace(": ", " = "), text[:-1] + ",}", "<xml/>", "\0", text + "\0"):  # fmt: skip
            yield json_of(route, junk.encode(), f"no JSON: {junk[:20]!r}")


def bad_characters(rng: random.Random) -> Iterator[Sent]:
    for route in JSON_ROWS:
        good = GOOD[route.name]
        for raw in (b"\xff", b"\xc3\x28", b"\xe4\xb8", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf", b"\x80"):
            yield json_of(route, with_raw(good, "note", '"?"').replace(b"?", raw), f"not UTF-8: {raw!r}")
        for encoding in ("utf-16", "utf-32", "utf-16-le", "cp037"):
            yield json_of(route, json.dumps(good).encode(encoding), encoding)
        for escape in ("\\ud800", "\\udfff", "a\\udc00b", "\\ud800\\ud800", "\\u0000", "a\\u0000b"):
            for name in good:
                value = f'"{escape}"' if isinstance(good[name], str) else f'[{{"role": "user", "content": "{escape}"}}]'
                rest = {k: v for k, v in good.items() if k != name}
                yield json_of(route, with_raw(rest, name, value), f"{escape} in {name}")
            yield json_of(route, with_raw(good, escape, "1"), f"{escape} as a key")
        for control in ("\0", "\x01", "\n", "\x1f"):
            yield json_of(route, with_raw(good, "note", f'"a{control}b"'), f"a bare {control!r}")


def content_types(rng: random.Random) -> Iterator[Sent]:
    kinds = ["", "text/plain", "text/json", "application/xml", "application/x-www-form-urlencoded", MULTIPART, "json",
             "multipart/form-data", "application/jsonp", "application/octet-stream", "/", ";", "x" * 5000,
             "application/json/json", "é/é"]  # fmt: skip
    for route in JSON_ROWS:
        for kind in kinds:
            yield json_of(route, GOOD[route.name], f"Content-Type {kind[:40]!r}", content_type=kind)
    form = form_of(list(GOOD["upload"].items()), "")
    for kind in [*kinds[:5], *kinds[6:], "application/json"]:
        yield Sent(f"upload: Content-Type {kind[:40]!r}", "POST", UPLOAD.path, form.body, {"content-type": kind})
    for charset in ("undefined", "punycode", "idna", "x\0y"):
        kind = f"{MULTIPART}; charset={charset}"
        body = form_of([("world_id", "é")], "").body
        yield Sent(f"upload: {kind}", "POST", UPLOAD.path, body, {"content-type": kind})


def methods_and_paths(rng: random.Random) -> Iterator[Sent]:
    for route in ROUTES:
        path = path_of(route) if route in PATH_ROWS else route.path
        others = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE", "OPTIONS", "BREW", "get", "", "X" * 500}
        for method in sorted(others - {row.method for row in ROUTES if row.path == route.path}):
            yield Sent(f"{route.name}: method", method, path)
        yield Sent(f"{route.name}: a slash too many", route.method, path + "/")
        yield Sent(f"{route.name}: two slashes", route.method, "/" + path)
        yield Sent(f"{route.name}: in capitals", route.method, path.upper())
        yield Sent(f"{route.name}: NUL after it", route.method, path + "%00")
    for route in PATH_ROWS:
        assert route.function.request is not None
        for name in route.function.request.model_fields:
            for value in [*BAD_IDS, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")]:
                path = path_of(route, **{name: value})
                known = {row.path for row in ROUTES} | {path_of(row) for row in PATH_ROWS}
                if unquote(path).rstrip("/") not in known:
                    yield Sent(f"{route.name}: {name} is {value!r:.40}", route.method, path)
    for path in ("", "*", "//", "/..", "/../..", "/worlds/../worlds", "/worlds/%2e%2e/worlds", "/%00", "/%ff%fe", "/é",
                 "/worlds/%", "/worlds/%zz", "/" + "a/" * 20_000, "/" + "a" * 100_000, "/worlds;x=1", "/.env", "/\r\nX: y",
                 "http://elsewhere/worlds", "/v1", "/v1/", "/v1/models/../../worlds", "/story", "/story/"):  # fmt: skip
        yield Sent("an odd path", "GET", path)


def queries(rng: random.Random) -> Iterator[Sent]:
    for route in ROUTES:
        path = path_of(route) if route in PATH_ROWS else route.path
        for query in (
            "verison=1",
            "limit=1&limit=2",
            "world_id=x",
            "a",
            "=",
            "%00=1",
            "é=1",
            "x" * 5000,
            "a=1&" * 5000,
        ):
            yield Sent(f"{route.name}: the query {query[:40]!r}", route.method, f"{path}?{query}")
    for name in ("show_world", "show_chunk"):
        (route,) = [route for route in PATH_ROWS if route.name == name]
        for value in ("", "0", "-1", "1.5", "1e3", "one", "2147483648", "9" * 5000, "1&version=1", "%00", "%EF%BC%90"):
            yield Sent(f"{name}: version={value[:40]}", "GET", f"{path_of(route)}?version={value}")
        for value in ("", "a%20b", "..", "a%2Fb", "%00", "x" * 65, "nobody", "nobody&session_id=nobody"):
            yield Sent(f"{name}: session_id={value[:40]}", "GET", f"{path_of(route)}?session_id={value}")


def multipart(rng: random.Random) -> Iterator[Sent]:
    whole = form_of(list(GOOD["upload"].items()), "").body

    def sent(what: str, body: bytes, kind: str = MULTIPART) -> Sent:
        return Sent(f"upload: {what}", "POST", UPLOAD.path, body, {"content-type": kind})

    yield sent("no boundary", whole, "multipart/form-data")
    yield sent("an empty boundary", whole, "multipart/form-data; boundary=")
    yield sent("another boundary", whole, "multipart/form-data; boundary=other")
    yield sent("a long boundary", whole, "multipart/form-data; boundary=" + "x" * 5000)
    yield sent("nothing", b"")
    yield sent("blanks", b"\r\n\r\n")
    yield sent("only the end", f"--{BOUNDARY}--\r\n".encode())
    yield sent("no first boundary", whole[3:])
    end = whole.index(f"--{BOUNDARY}--".encode())
    for at in [*sorted(rng.sample(range(1, end), 25)), end, end + len(BOUNDARY) + 2, end + len(BOUNDARY) + 3]:
        yield sent(f"cut off at {at}", whole[:at])
    for disposition in ("", "form-data", 'form-data; filename="a.md"', "attachment", "\xff", 'form-data; name="', ";"):
        part = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n".encode()
        yield sent(f"a part with {disposition!r}", part + whole)
    yield sent("a part without headers", f"--{BOUNDARY}\r\n\r\nx\r\n".encode() + whole)
    yield sent("a header without a colon", f"--{BOUNDARY}\r\nContent Disposition\r\n\r\nx\r\n".encode() + whole)
    yield sent("a huge header", f"--{BOUNDARY}\r\nX-A: {'y' * 200_000}\r\n\r\nx\r\n".encode() + whole)
    yield sent("thousands of parts", b"".join(whole[:end] for _ in range(400)) + whole[end:])
    yield sent("a huge field", form_of([("world_id", "x" * 1_200_000)], "").body)
    for _ in range(15):
        mangled = bytearray(whole)
        # In the first part's header, where no byte is content.
        for at in rng.sample(range(len(BOUNDARY) + 4, whole.index(b'name="world_id"')), 3):
            mangled[at] = rng.choice(b"\0\xff\r\n")
        yield sent(f"mangled: {bytes(mangled[:60])!r}", bytes(mangled))


def idempotency_keys(rng: random.Random) -> Iterator[Sent]:
    (turn,) = [route for route in JSON_ROWS if route.name == "take_turn"]
    for key in ("", " ", "x" * 201, "x" * 60_000, "世" * 201):
        yield json_of(turn, GOOD["take_turn"], f"Idempotency-Key {key[:20]!r}", idempotency_key=key)
    for stream in (True, False):
        for n in range(5):
            body = {**GOOD["take_turn"], "stream": stream, "max_tokens": rng.choice([-1, 0, 63, 4097])}
            yield json_of(turn, body, "a good key and a bad body", idempotency_key=f"key-{n}")


FAMILIES: list[Callable[[random.Random], Iterator[Sent]]] = [
    wrong_types, bad_identifiers, missing_and_extra, huge, not_quite_json, bad_characters, content_types,
    methods_and_paths, queries, multipart, idempotency_keys,
]  # fmt: skip


# --- sending them -----------------------------------------------------------------------------------------------------


def stored(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file of the storage, with its size and its time."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def faults(sent: Sent, got: Got) -> str:
    """What is wrong with an answer to a malformed request; "" when nothing is."""
    if not 400 <= got.status < 500:
        return f"answered {got.status} {got.body[:200]!r}"
    if got.headers.get("content-type") != MEDIA_TYPE:
        return f"answered {got.status} as {got.headers.get('content-type')}"
    problem = json.loads(got.body)
    if not set(problem) >= PROBLEM_KEYS or problem["status"] != got.status or not problem["detail"]:
        return f"no whole problem document: {got.body[:200]!r}"
    return "" if len(got.body) < 20_000 else f"echoes {len(got.body)} bytes"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
async def test_each_is_a_clear_4xx_and_leaves_nothing(
    family: Callable[[random.Random], Iterator[Sent]], house: House, tmp_path: Path
) -> None:
    app, before = app_of(house), stored(tmp_path)
    failures = []
    for sent in family(random.Random(SEED)):
        try:
            fault = faults(sent, await send(app, sent))
        except Exception as error:
            fault = f"escaped: {error!r:.200}"
        if fault:
            failures.append(f"{sent}\n    {fault}")
    assert not failures, f"{len(failures)} of them:\n" + "\n".join(failures[:60])
    assert stored(tmp_path) == before
    assert (house.llm.payloads, house.ingestion.uploads, house.retrieval.queries) == ([], [], [])
    assert house.images.specs == []


def test_there_are_enough_of_them_and_they_come_out_the_same() -> None:
    requests = [str(sent) for family in FAMILIES for sent in family(random.Random(SEED))]
    assert len(requests) >= MIN_REQUESTS
    assert requests == [str(sent) for family in FAMILIES for sent in family(random.Random(SEED))]
    touched = {route.name for route in WITH_FIELDS}
    assert touched == set(GOOD)
    assert all(any(request.startswith(f"{name}:") for request in requests) for name in touched)


async def test_what_they_are_made_of_is_good(house: House) -> None:
    app = app_of(house)
    for route in JSON_ROWS:
        assert (await send(app, json_of(route, GOOD[route.name], "good"))).status == 200
    assert (await send(app, form_of(list(GOOD["upload"].items()), "good"))).status == 200
    assert (await send(app, Sent("good", "GET", path_of(PATH_ROWS[0])))).status == 200
