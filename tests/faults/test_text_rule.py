"""Kind 8: one rule for every text that enters, checked after every escape was resolved."""

from __future__ import annotations

import io
import json
import zipfile
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from sagaforge.datasets.packs.pack import Pack, read_upload
from sagaforge.datasets.styles import parse_style
from sagaforge.datasets.worlds.ingest import chunk_pack
from sagaforge.errors import InvalidInput, SagaForgeError
from sagaforge.imaging.receipts import read_receipt
from sagaforge.text.characters import REFUSED, check_name, check_text, is_suspicious, with_plain_line_ends
from tests.support.fakes import House
from tests.support.http_client import TURN, check_problem
from tests.unit.imaging.test_receipts import RECEIPT

# One of each kind: NUL, a terminal's escape, backspace, DEL, NEL, C1's CSI, an override, noncharacters, a hidden tag.
BAD = ["\0", "\x1b", "\b", "\x7f", "\x85", "\x9b", "\u202e", "\ufdd0", "\uffff", "\U0001fffe", "\U000e0041"]
SURROGATES = ["\ud800", "\udfff"]
ONLY_IN_NAMES = ["\n", "\t", "\r", "\u2028", "\u2066", "\u202b"]
# What people write: combining marks in either form, joiners, right-to-left text with marks and isolates, wide spaces, an
# emoji of three characters, the flag of Wales, private use, a rare Chinese character, a replacement character.
GOOD = [
    "café", "cafe\u0301", "नमस्\u200dते", "می\u200cخواهم", "שלום \u2067abc\u2069 עולם", "\u200fא", "燈\u3000塔", "👩\u200d🚀",
    "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f", "\ue000", "𠮷", "a\u00a0b", "\ufffd",
]  # fmt: skip
NAMES_TOO = [text for text in GOOD if "\u2067" not in text]


def code_of(character: str) -> str:
    return f"U+{ord(character):04X}"


def zipped(**files: str | bytes) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "."), data)
    buffer.seek(0)
    return buffer


def yaml_escape(character: str) -> str:
    return f"\\U{ord(character):08X}"


# --- the rule itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD + SURROGATES, ids=code_of)
def test_a_refusal_names_the_place_and_the_character(bad: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_text(f"One line.\nTwo {bad}lines.\n", "lore.md")
    assert caught.value.detail.startswith(f"lore.md, line 2, column 5: {code_of(bad)} (")
    assert caught.value.detail.endswith("Take it out.")
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize("bad", ONLY_IN_NAMES, ids=code_of)
def test_a_name_is_one_line_and_leaves_its_neighbours_alone(bad: str) -> None:
    text = f"Mara{bad}Venn"
    assert check_text(text, "description") == text
    with pytest.raises(InvalidInput) as caught:
        check_name(text, "title")
    assert code_of(bad) in caught.value.detail
    assert caught.value.detail.startswith("title, line 1, column 5: ")


@pytest.mark.parametrize("text", ["", " ", "\u3000", "\u200b", "\u200d\u200c", "\u0301", "\ufeff"])
def test_a_name_of_nothing_visible_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="title: is empty"):
        check_name(text, "title")


@pytest.mark.parametrize("text", GOOD, ids=ascii)
def test_what_people_write_is_kept_as_it_is(text: str) -> None:
    assert check_text(text, "x") is text
    document = read_upload("a.txt", io.BytesIO(f"Lore: {text} end.".encode())).documents[0]
    assert document.text == f"Lore: {text} end."


@pytest.mark.parametrize("text", NAMES_TOO, ids=ascii)
def test_what_people_write_may_stand_in_a_name(text: str) -> None:
    assert check_name(text, "title") is text
    pack = read_upload(f"燈 {text} lore.txt", io.BytesIO(b"Lore."))
    assert pack.documents[0].source == f"燈 {text} lore.txt"
    assert pack.title == f"燈 {text} lore"


def test_a_name_has_a_length() -> None:
    assert check_name("x" * 200, "title") == "x" * 200
    with pytest.raises(InvalidInput, match="title: 201 characters are more than the 200 allowed"):
        check_name("x" * 201, "title")


@settings(deadline=None)
@given(st.text(max_size=20))
def test_the_quick_look_lets_nothing_pass(text: str) -> None:
    """20 MB of base64 stand on the event loop: a look in C (0.02 s) saves the search (1.2 s)."""
    assert is_suspicious(text) or not REFUSED.search(text)
    assert not is_suspicious("A" * 1000 + "\n" + "燈塔")


# --- the doors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD, ids=code_of)
def test_files_of_a_pack(bad: str) -> None:
    escaped = yaml_escape(bad)
    doors = {
        "lorebook.md, line 3, column 2": {"lorebook__md": f"# T\n\nx{bad}y"},
        "notes.txt, line 1, column 1": {"notes__txt": f"{bad}y"},
        "characters.yaml, line 1, an escape": {"characters__yaml": f'm: {{name: "Q{escaped}ay"}}'},
        "characters.yaml, line 2: a key, an escape": {"characters__yaml": f'm:\n  "Q{escaped}": x\n  name: M'},
        "characters.yaml, line 1, column 13": {"characters__yaml": f"m: {{name: 'Q{bad}ay'}}"},
        "scenes.yaml, line 3, an escape": {"scenes__yaml": f's:\n  title: S\n  details: ["a{escaped}"]'},
        "style.toml: visual_style.mood": {"style__toml": f'[visual_style]\nmood = "x{escaped}"', "a__md": "Lore."},
        "style.toml: visual_style.a[1]": {"style__toml": f'[visual_style]\na = ["x", "{escaped}"]', "a__md": "Lore."},
        "the name of a file": {f"lore{bad}x__md": "Lore."},
    }
    for place, files in doors.items():
        if "name of a file" in place and bad == "\0":
            continue  # zipfile writes what is before it
        with pytest.raises(SagaForgeError) as caught:
            read_upload("w.zip", zipped(**files))
        assert 400 <= caught.value.status < 500
        assert caught.value.detail.isprintable(), place
        if "name of a file" in place:
            continue  # the zip reader may have its own words
        if bad == "\0" and "column" in place:  # so may the finder of encodings: it is no UTF-8, whatever it is
            assert place.split(",")[0] in caught.value.detail
            continue
        assert place in caught.value.detail
        assert code_of(bad) in caught.value.detail


def test_a_style_and_a_receipt() -> None:
    with pytest.raises(InvalidInput, match=r"own.yaml, line 2, an escape: U\+001B"):
        parse_style('style_id: own\ntitle: "a\\x1b[2J"\nbase_model: sdxl\n', "own.yaml")
    chunks = PngImagePlugin.PngInfo()
    receipt = json.loads(RECEIPT.model_dump_json()) | {"prompt": "a\x9b2J"}
    chunks.add_itxt("sagaforge", json.dumps(receipt), zip=True)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=chunks)
    with pytest.raises(InvalidInput, match=r"receipt: prompt, line 1, column 2: U\+009B"):
        read_receipt(out.getvalue())


@pytest.mark.parametrize(
    ("bad", "raw"), [(c, raw) for c in BAD for raw in (False, True) if not raw or c > " "], ids=repr
)
async def test_bodies(client: httpx.AsyncClient, bad: str, raw: bool) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": f"x{bad}"}]}]
    bodies = {
        "/llm/turn": ("message", {**TURN, "message": f"Hello {bad}"}),
        "/rag/retrieve": ("query", {"world_id": "harbour", "query": f"a{bad}"}),
        "/t2i/generate": ("negative_prompt", {"prompt": "a harbour", "negative_prompt": bad}),
        "/v1/chat/completions": ("messages[0].content[1].text", {"model": "fake", "messages": parts}),
        "/t2i/replay": ("prompt", RECEIPT.model_dump(mode="json", exclude={"adapters"}) | {"prompt": bad}),
    }
    for path, (field, body) in bodies.items():
        content = json.dumps(body, ensure_ascii=not raw).encode()
        response = await client.post(path, content=content, headers={"Content-Type": "application/json"})
        detail = check_problem(response, 422, "invalid_input")["detail"]
        assert detail.startswith(f"{field}, line 1, column ")
        assert code_of(bad) in detail
        assert detail.isprintable()
    key = json.dumps({**TURN, f"x{bad}": 1}, ensure_ascii=not raw).encode()
    response = await client.post("/llm/turn", content=key, headers={"Content-Type": "application/json"})
    assert "a field's name" in check_problem(response, 422, "invalid_input")["detail"]


def multipart(disposition: bytes, license: bytes = b"CC0-1.0") -> dict[str, object]:
    parts = [
        b'Content-Disposition: form-data; name="world_id"\r\n\r\nreef',
        b'Content-Disposition: form-data; name="license"\r\n\r\n' + license,
        b'Content-Disposition: form-data; name="file"; ' + disposition + b"\r\n\r\n# Lore",
    ]
    body = b"".join(b"--zq9\r\n" + part + b"\r\n" for part in parts) + b"--zq9--\r\n"
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=zq9"}}


BAD_FILE_NAMES = {
    "escape": b'filename="a\x1b[2J.md"',
    "csi": 'filename="a\x9b2J.md"'.encode(),
    "override": 'filename="a\u202edm.exe.md"'.encode(),
    "tab": b'filename="a\tb.md"',
    "isolate": 'filename="a\u2067b.md"'.encode(),
    "nothing visible": 'filename="\u200b"'.encode(),
    "long": b'filename="' + b"x" * 198 + b'.md"',
    "line end": 'filename="a\u2028b.md"'.encode(),
}


@pytest.mark.parametrize("disposition", BAD_FILE_NAMES.values(), ids=BAD_FILE_NAMES)
async def test_names_of_sent_files(client: httpx.AsyncClient, house: House, disposition: bytes) -> None:
    response = await client.post("/rag/upload", **multipart(disposition))  # type: ignore[arg-type]
    assert "the name of the file" in check_problem(response, 422, "invalid_input")["detail"]
    assert house.ingestion.uploads == []


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('filename="燈塔.md"'.encode(), "燈塔.md"),
        ('filename="cafe\u0301.md"'.encode(), "cafe\u0301.md"),
        (b'filename="a%1B[2J.md"', "a%1B[2J.md"),  # no escape in a form: these are the characters
        (b"filename=\"plain.md\"; filename*=UTF-8''%1B%5B2J.md", "plain.md"),  # RFC 7578: not read in a form
        (b'filename="a \\"b\\".md"', 'a "b".md'),
        (b'filename="caf\xe9.md"', "café.md"),  # the reader of packs looks at what it may be
    ],
)
async def test_names_that_are_kept(client: httpx.AsyncClient, house: House, disposition: bytes, name: str) -> None:
    assert (await client.post("/rag/upload", **multipart(disposition))).status_code == 200  # type: ignore[arg-type]
    assert house.ingestion.uploads[0][0] == name


@pytest.mark.parametrize("bad", ["\x1b", "\x9b", "\u202e", "\uffff"], ids=code_of)
async def test_forms_queries_paths_and_headers(client: httpx.AsyncClient, bad: str) -> None:
    form = multipart(b'filename="a.md"', f"CC0{bad}".encode())
    problem = check_problem(await client.post("/rag/upload", **form), 422, "invalid_input")  # type: ignore[arg-type]
    assert problem["detail"].startswith("license: ")
    sent = [
        client.get(f"/images?watermark=a{quote(bad)}"),
        client.get(f"/images?{quote(bad)}=a"),
        client.get(f"/worlds/a{quote(bad)}"),
        client.get(f"/worlds/harbour/chunks/{quote(bad)}"),
    ]
    if ord(bad) < 256:
        sent.append(client.post("/llm/turn", json=TURN, headers={"Idempotency-Key": f"a{bad}".encode("latin-1")}))
    for request in sent:
        response = await request
        assert 400 <= response.status_code < 500
        assert code_of(bad) in response.json()["detail"]
        assert response.text.isprintable()


# --- properties -----------------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


@settings(max_examples=60, deadline=None)
@given(ANY_TEXT)
def test_the_rule_is_one_for_documents_and_fields(text: str) -> None:
    """A document is accepted if and only if its text is; then its text, and its chunk, are what was sent."""
    plain = with_plain_line_ends(text)
    assert with_plain_line_ends(plain) == plain
    sent = f"a{text}b"
    if REFUSED.search(with_plain_line_ends(sent)):
        with pytest.raises(InvalidInput, match=r"lore.txt, line \d+, column \d+: U\+"):
            read_upload("lore.txt", io.BytesIO(sent.encode()))
        return
    pack: Pack = read_upload("lore.txt", io.BytesIO(sent.encode()))
    assert pack.documents[0].text == with_plain_line_ends(sent)
    assert [chunk.text for chunk in chunk_pack(pack, "w")] == [pack.documents[0].text]


@settings(max_examples=60, deadline=None)
@given(ANY_TEXT)
def test_a_text_of_yaml_is_what_was_quoted(text: str) -> None:
    source = f'm: {{name: M, background: "a{"".join(map(yaml_escape, text))}b"}}'
    if REFUSED.search(with_plain_line_ends(f"a{text}b")):
        with pytest.raises(InvalidInput, match=r"line 1, an escape: U\+"):
            read_upload("w.zip", zipped(characters__yaml=source))
    else:
        pack = read_upload("w.zip", zipped(characters__yaml=source))
        assert pack.characters["m"].background == with_plain_line_ends(f"a{text}b")


@settings(deadline=None)
@given(
    st.lists(st.text("ab燈 ", max_size=6), max_size=6), st.text("ab燈", max_size=5), st.sampled_from(BAD + SURROGATES)
)
def test_the_place_is_right(before: list[str], on_the_line: str, bad: str) -> None:
    text = "".join(f"{line}\n" for line in before) + on_the_line + bad + "\nmore" + bad
    with pytest.raises(InvalidInput) as caught:
        check_text(text, "f")
    assert caught.value.detail.startswith(f"f, line {len(before) + 1}, column {len(on_the_line) + 1}: {code_of(bad)}")
