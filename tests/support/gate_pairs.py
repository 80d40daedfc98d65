"""Claims about the sample worlds whose truth is known: lore sentences as they stand, retold, and made wrong.

The word lists here are this file's own, not the gate's, so that the test does not ask the gate to know itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import opencc
import yaml

from sagaforge.datasets.worlds.chunking import split_sections
from sagaforge.deployments.retrieval.interface import LoreLine, section_title
from sagaforge.text.terms import STOP_WORDS, split_sentences
from tests.support.paths import SAMPLES

NUM_LINES = 6

PAIRS_EN = """red/blue green/yellow black/white brass/copper iron/stone left/right north/south east/west first/last
large/small largest/smallest old/young high/low highest/lowest long/short upper/lower inside/outside above/below
before/after mother/father sister/brother daughter/son husband/wife new/old white/red grey/green steel/wood bone/glass
wool/silk dawn/dusk midnight/noon morning/evening spring/neap deep/shallow bright/dull wide/narrow hot/cold wet/dry
best/worst northernmost/southernmost public/private secret/public senior/junior safe/dangerous dark/bright every/no
lowest/highest half/twice spiral/square bronze/silver lost/found buy/sell founded/closed lit/dimmed raised/lowered"""
PAIRS_ZH = """
紅/藍 綠/黃 黑/白 左/右 東/西 南/北 上層/下層 最高/最低 大/小 新/舊 早上/晚上 地下/地上 父親/母親
女兒/兒子 哥哥/弟弟 丈夫/妻子 開市/收市 深/淺 長/短 前/後 內/外 冷/熱 金/銀 銅/鐵 木/石 春/秋 夏/冬 男/女 日/夜
朱紅/翠綠 白煙/黑煙 免費/收費 最大/最小 增加/減少 進入/離開 禁止/允許 買/賣 總部/分部"""
AUXILIARIES = "is|are|was|were|has|have|had|can|may|must|will|does|did"
SMALL_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBER_WORDS = (*SMALL_NUMBERS, "eleven", "twelve", "twenty", "thirty", "forty", "fifty", "sixty", "seventy")
NOUNS_EN = ("lantern", "harbour", "orchard", "parrot", "violin", "blanket", "sailors", "engines", "rivers", "teapot")
NOUNS_ZH = ("鸚鵡", "花園", "茶壺", "河流", "水手", "毛毯", "果園", "鋼琴")
ZH_DIGITS = "一二三四五六七八九"
PRONOUN = {"en": "It", "zh": "它"}


@dataclass(frozen=True)
class Pair:
    """A claim, the number that it cites, the lines of its prompt, and the line that truly holds it (0: none)."""

    kind: str
    text: str
    cited: int
    lines: tuple[LoreLine, ...]
    truth: int


def lore_lines(world: str) -> list[LoreLine]:
    """Every sentence of a sample world's lore and people that is long enough to be wrong about something."""
    sections = split_sections((SAMPLES / world / "lorebook.md").read_text("utf-8"))
    texts = [(section_title(section.title), section.text) for section in sections]
    for entry in _characters(world):
        texts += [(str(entry["name"]), str(entry[part])) for part in ("personality", "background")]
    return [
        LoreLine(f"doc@section_{number}", title, sentence)
        for number, (title, text) in enumerate(texts, 1)
        for sentence in split_sentences(text)
        if len(sentence) >= (12 if is_chinese(sentence) else 40)
    ]


def _characters(world: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load((SAMPLES / world / "characters.yaml").read_text("utf-8"))["characters"].values())


def world_names(world: str) -> list[str]:
    names = [str(entry["name"]) for entry in _characters(world)]
    return names + sorted({line.section for line in lore_lines(world)})


def is_chinese(text: str) -> bool:
    return bool(re.search("[\u4e00-\u9fff]", text))


def pairs_of(world: str, seed: int, num_sentences: int) -> Iterator[Pair]:
    """All the pairs that can be made of `num_sentences` sentences of a world."""
    rng = random.Random(seed)
    pool, names = lore_lines(world), world_names(world)
    for target in rng.sample(pool, min(num_sentences, len(pool))):
        # Half the distractors share the section, as retrieval would have it.
        near = [line for line in pool if line.section == target.section and line != target]
        others = rng.sample(near, min(2, len(near)))
        others += rng.sample([line for line in pool if line.section != target.section], NUM_LINES - 1 - len(others))
        position = rng.randrange(NUM_LINES)
        lines = (*others[:position], target, *others[position:])
        truth = position + 1
        wrong = rng.choice([number for number in range(1, NUM_LINES + 1) if number != truth])
        retold = _retold_zh if is_chinese(target.text) else _retold_en
        spoilt = _spoilt_zh if is_chinese(target.text) else _spoilt_en
        yield Pair("right: verbatim", target.text, truth, lines, truth)
        for kind, text in retold(target, rng):
            yield Pair(f"right: {kind}", text, truth, lines, truth)
        yield Pair("wrong: line, held by another", target.text, wrong, lines, truth)
        without = tuple(rng.choice(others) if line == target else line for line in lines)
        yield Pair("wrong: line, held by none", target.text, wrong, without, 0)
        for kind, text in spoilt(target, names, rng):
            yield Pair(f"wrong: {kind}", text, truth, lines, 0)


# --- English --------------------------------------------------------------------------------------------------------


def _retold_en(line: LoreLine, rng: random.Random) -> Iterator[tuple[str, str]]:
    text = line.text
    if match := re.fullmatch(r"(.{25,}?), ((?:and|but|because|so|which|who|where) .{15,})\.", text):
        yield "clause dropped", match[1] + "."
    if match := re.fullmatch(r"(.{25,}) (in Year \d+|because .+|on the \d+\w+ of \w+|at \w+|in \w+)\.", text):
        yield "reordered", f"{match[2][0].upper()}{match[2][1:]}, {_lowered(match[1], line)}."
    if text.startswith(line.section + " "):
        yield "name to pronoun", PRONOUN["en"] + text.removeprefix(line.section)
    if match := re.match(r"(It|She|He|They) ", text):
        yield "pronoun to name", line.section + text[len(match[1]) :]
    frame = rng.choice(["They say that", "You hear that", "The story tells that", "As you know,"])
    yield "framed", f"{frame} {_lowered(text, line)}"
    words = {word: str(value) for value, word in enumerate(SMALL_NUMBERS, 2)}
    words |= {"forty": "40", "thirty": "30", "twenty": "20", "twelve": "12"}
    found = [word for word in words if re.search(rf"(?<!-)\b{word}\b(?!-| hundred| thousand)", text)]
    if found:
        yield "number in digits", re.sub(rf"(?<!-)\b{found[0]}\b(?!-| hundred)", words[found[0]], text)


def _lowered(text: str, line: LoreLine) -> str:
    is_name = text.startswith(line.section) and not line.section.startswith("The ")
    second = text.split()[1][:1] if len(text.split()) > 1 else ""
    return text if is_name or second.isupper() else text[0].lower() + text[1:]


def _spoilt_en(line: LoreLine, names: list[str], rng: random.Random) -> Iterator[tuple[str, str]]:
    text = line.text
    swaps = [tuple(pair.split("/")) for pair in PAIRS_EN.split()]
    swaps = [swap for a, b in swaps for swap in ((a, b), (b, a)) if re.search(rf"\b{swap[0]}\b", text)]
    if swaps:
        old, new = rng.choice(swaps)
        yield "attribute", re.sub(rf"\b{old}\b", new, text, count=1)
    if match := re.search(rf"\b({AUXILIARIES})\b(?! not| never| no )", text):
        yield "negation inserted", text[: match.end()] + rng.choice([" not", " never"]) + text[match.end() :]
    if match := re.search(r"\b(?:no|not|never) |\bwithout ", text):
        new = "with " if match.group() == "without " else ""
        yield "negation removed", text[: match.start()] + new + text[match.end() :]
    numbers = list(re.finditer(rf"\d[\d,]*|\b(?:{'|'.join(NUMBER_WORDS)})\b", text))
    if numbers:
        match = rng.choice(numbers)
        yield "number", text[: match.start()] + _other_number(match.group(), rng) + text[match.end() :]
    inside = [name for name in names if name in text]
    if inside:
        old = rng.choice(inside)
        new = rng.choice([name for name in names if name not in text and name not in line.section])
        yield "name", text.replace(old, new, 1)
    if len(inside) >= 2:
        one, two = rng.sample(inside, 2)
        if _is_exchange(one, two, text):
            yield "names exchanged", _exchanged(text, one, two)
    nouns = [word for word in re.findall(r"\b[a-z]{5,}\b", text) if word not in STOP_WORDS]
    if nouns:
        old = rng.choice(nouns)
        new = rng.choice(NOUNS_EN)
        yield "word", re.sub(rf"\b{old}\b", new, text, count=1)


def _other_number(old: str, rng: random.Random) -> str:
    if old[0].isdigit():
        value = int(old.replace(",", ""))
        return str(value + rng.choice([1, 2, 10, -1]) if value > 1 else value + 1)
    return rng.choice([word for word in NUMBER_WORDS if word != old])


def _is_exchange(one: str, two: str, text: str) -> bool:
    """Not one name inside another, nor "A and B", which says the same as "B and A"."""
    joined = rf"{re.escape(one)}(?:,? and (?:the )?|[與和跟、]){re.escape(two)}"
    back = rf"{re.escape(two)}(?:,? and (?:the )?|[與和跟、]){re.escape(one)}"
    return one not in two and two not in one and not re.search(f"{joined}|{back}", text)


def _exchanged(text: str, one: str, two: str) -> str:
    return text.replace(one, "\0").replace(two, one).replace("\0", two)


# --- Chinese --------------------------------------------------------------------------------------------------------


def _retold_zh(line: LoreLine, rng: random.Random) -> Iterator[tuple[str, str]]:
    text = line.text.rstrip("。")
    clauses = text.split(",") if "," in text else text.split("，")
    if len(clauses) > 1 and len(re.sub(r"[\d年月日]", "", clauses[0])) >= 9:
        yield "clause dropped", "，".join(clauses[:-1]) + "。"
    if len(clauses) == 2 and clauses[1].startswith(line.section[:2]):
        yield "reordered", f"{clauses[1]}，{clauses[0]}。"
    if match := re.fullmatch(r"(.{2,8}?)((?:從|在)\d+年(?:\d+月)?(?:起|由)?)(.{5,})", text):
        yield "reordered", f"{match[2]}，{match[1]}{match[3]}。"
    if text.startswith(line.section):
        yield "name to pronoun", PRONOUN["zh"] + text.removeprefix(line.section) + "。"
    yield "framed", rng.choice(["據說", "你聽說，", "你知道，"]) + text + "。"
    yield "other script", opencc.OpenCC("t2s").convert(text) + "。"
    if match := re.search(
        r"(?<![一二三四五六七八九十百千萬兩零\d])十([二三四五六七八九])(?![一二三四五六七八九十百千萬])", text
    ):
        yield "number in digits", text.replace(match.group(), f"1{ZH_DIGITS.index(match[1]) + 1}", 1) + "。"


def _spoilt_zh(line: LoreLine, names: list[str], rng: random.Random) -> Iterator[tuple[str, str]]:
    text = line.text
    inside = [name for name in names if name in text]
    bare = text
    for name in inside:  # an attribute inside a name is the name's
        bare = bare.replace(name, "\0" * len(name))
    swaps = [tuple(pair.split("/")) for pair in PAIRS_ZH.split()]
    swaps = [swap for a, b in swaps for swap in ((a, b), (b, a)) if swap[0] in bare and swap[1] not in bare]
    if swaps:
        old, new = rng.choice(swaps)
        place = bare.index(old)
        yield "attribute", text[:place] + new + text[place + len(old) :]
    if match := re.search(r"(?<![不沒未])(?:會(?!議|員)|能(?!量|源)|可以|必須|是(?!否))", bare):
        yield "negation inserted", text[: match.start()] + "不" + text[match.start() :]
    if match := re.search(r"沒有|不准|不會|不能|從未|不算|不收|不得|不用|不是", bare):
        new = {"沒有": "有", "從未": "曾經"}.get(match.group(), match.group()[1:])
        yield "negation removed", text[: match.start()] + new + text[match.end() :]
    numbers = list(re.finditer(r"\d+|[一二三四五六七八九十兩百千]{2,}|[二三四五六七八九]", bare))
    if numbers:
        match = rng.choice(numbers)
        old = match.group()
        place = rng.randrange(len(old))
        if old[0].isdigit():
            new = str(int(old) + rng.choice([1, 3, 10]))
        else:
            new = rng.choice([d for d in "三四五六七八九" if d not in old[max(0, place - 1) : place + 2]])
            new = (
                old[:place] + new + old[place + 1 :] if old[place] not in "十百千" else old[:place] + new + old[place:]
            )
        yield "number", text[: match.start()] + new + text[match.end() :]
    if inside:
        old = rng.choice(inside)
        new = rng.choice([name for name in names if name not in text and name != line.section])
        yield "name", text.replace(old, new, 1)
    if len(inside) >= 2:
        one, two = rng.sample(inside, 2)
        if _is_exchange(one, two, text):
            yield "names exchanged", _exchanged(text, one, two)
    if len(bare) > 14:
        place = rng.randrange(2, len(bare) - 4)
        if "\0" not in bare[place : place + 2] and not re.search(r"[，。、「」\d]", bare[place : place + 2]):
            new = rng.choice(NOUNS_ZH)
            yield "word", text[:place] + new + text[place + 2 :]
