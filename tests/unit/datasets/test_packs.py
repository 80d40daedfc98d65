from __future__ import annotations

import io
import zipfile

import pytest

from sagaforge.datasets.packs.pack import Pack, UploadLimits, read_upload
from sagaforge.datasets.packs.prose import character_sections, scene_sections
from sagaforge.errors import InvalidInput, TooLarge, UnsupportedType

CHARACTERS = """
characters:
  oriel_vance:
    name: Oriel Vance
    description: Keeper of the north lamp.
    appearance: {hair_color: grey, distinctive_features: [a brass ring, a limp]}
    personality: [patient, exact]
    background: Oriel Vance was born at sea.
    relationships: {tam: Oriel trusts Tam with the keys.}
    goals: [Relight the south lamp.]
    age: 61
    born: 2089-10-01
  tam: {name: Tam Reed}
"""
SCENES = """
scenes:
  - {id: lamp_room, title: The Lamp Room, description: Glass and heat., location: North Lamp, npcs: [oriel_vance]}
  - {id: pier, title: The Pier, details: [Wet rope., A green bell.]}
"""
STYLE = '[visual_style]\nmood = "foggy"\n\n[generation_presets.portrait]\nsteps = 30\n'


def pack_of(prefix: str = "", **files: str) -> Pack:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(
                prefix + name.replace("__", ".").replace("SLASH", "/").replace("MACOSX/", "__MACOSX/"), text
            )
    buffer.seek(0)
    return read_upload("my_world.zip", buffer)


FULL = {
    "characters__yaml": CHARACTERS,
    "scenes__yaml": SCENES,
    "style__toml": STYLE,
    "lorebook__md": "# The Reach\n\nFog.",
}


def test_a_whole_pack() -> None:
    pack = pack_of(**FULL, notesSLASHtides__txt="High water.")
    assert (pack.title, pack.language) == ("The Reach", "en")
    assert [d.source for d in pack.documents] == ["lorebook.md", "notes/tides.txt"]
    assert pack.characters["oriel_vance"].personality == "patient, exact"
    assert pack.characters["oriel_vance"].model_extra == {"age": "61", "born": "2089-10-01"}
    assert pack.scenes["pier"].details == "Wet rope.\nA green bell."
    assert pack.style["generation_presets"]["portrait"]["steps"] == 30


def test_a_single_top_folder_is_tolerated() -> None:
    assert pack_of(**FULL) == pack_of("my_world/", **FULL)


def test_a_list_of_characters_and_missing_names() -> None:
    pack = pack_of(characters__yaml="characters:\n- {id: al, name: Al, background: Born.}\n- {id: bo}\n")
    assert {key: c.name for key, c in pack.characters.items()} == {"al": "Al", "bo": "bo"}


def test_values_of_yaml_stay_text() -> None:
    pack = pack_of(characters__yaml="characters: {a: {name: No, background: 1:30, description: null}}")
    assert (pack.characters["a"].name, pack.characters["a"].background) == ("No", "1:30")


def test_characters_and_scenes_read_as_prose_about_their_subject() -> None:
    pack = pack_of(**FULL)
    oriel, tam = character_sections(pack)
    assert (oriel.title, oriel.kind, oriel.ref) == ("Oriel Vance", "character", "oriel_vance")
    assert oriel.text.split("\n") == [
        "Oriel Vance: Keeper of the north lamp.",
        "Hair color of Oriel Vance: grey",
        "Distinctive features of Oriel Vance: a brass ring, a limp",
        "Personality of Oriel Vance: patient, exact",
        "Background of Oriel Vance: Oriel Vance was born at sea.",
        "Oriel Vance and Tam Reed: Oriel trusts Tam with the keys.",
        "Goals of Oriel Vance: Relight the south lamp.",
        "Age of Oriel Vance: 61",
        "Born of Oriel Vance: 2089-10-01",
    ]
    assert tam.text == "Tam Reed"
    assert "Npcs of The Lamp Room: Oriel Vance" in scene_sections(pack)[0].text


def test_a_single_text_is_a_pack() -> None:
    pack = read_upload("C:\\lore\\燈塔 lore.txt", io.BytesIO("燈塔的油是褐色的。".encode()))
    assert (pack.title, pack.language, pack.documents[0].source) == ("燈塔 lore", "zh-Hant", "燈塔 lore.txt")


def test_a_pdf_is_read() -> None:
    pytest.importorskip("pypdf")
    content = b"BT /F1 24 Tf 72 700 Td (The lamp burns brown oil.) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length " + str(len(content)).encode() + b">>stream\n" + content + b"\nendstream",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj" % number + body + b"endobj\n"
    xref = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    table = b"xref\n0 6\n0000000000 65535 f \n" + xref + b"trailer<</Size 6/Root 1 0 R>>\n"
    data += table + b"startxref\n%d\n%%%%EOF" % len(data)
    pack = read_upload("lore.pdf", io.BytesIO(data))
    assert "The lamp burns brown oil." in pack.documents[0].text


def test_pictures_and_desktop_litter_are_passed_over() -> None:
    pack = pack_of(lorebook__md="Fog.", refsSLASHa__png="x", MACOSXSLASH_x="x")
    assert [d.source for d in pack.documents] == ["lorebook.md"]


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"style__toml": STYLE}, InvalidInput, "no lore"),
        ({"characters__yaml": "characters: {a: {name: [1]}}"}, InvalidInput, "a.name"),
        ({"run__exe": "x"}, UnsupportedType, "run.exe"),
        ({"characters__yaml": "characters: {'bad id': {name: A}}"}, InvalidInput, "bad id"),
    ],
)
def test_refusals_name_the_place(files: dict[str, str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        pack_of(**files)


def test_limits_count_what_comes_out() -> None:
    with pytest.raises(TooLarge, match="100 bytes"):
        read_upload("a.txt", io.BytesIO(b"x" * 101), UploadLimits(max_upload_bytes=100))
