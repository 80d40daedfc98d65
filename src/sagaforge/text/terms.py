"""Language, folding, search terms and sentences, for English and both Chinese scripts.

What is shown is always the author's text. What is searched is a second column of terms made here, the same way for
lore and for queries, so that either script finds the other and the full-text index only has to split at spaces.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

Language = Literal["en", "zh-Hant", "zh-Hans"]

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af〇々"
HAN_CHARACTER = re.compile(f"[{HAN}]")
# A Latin word keeps an inner apostrophe ("keeper's") for the stemmer; digits keep separators ("1,350" is one number).
TERM = re.compile(rf"(?P<han>[{HAN}]+)|(?P<number>\d+(?:[.,]\d+)*)|(?P<word>[^\W\d_{HAN}]+(?:['’][^\W\d_{HAN}]+)*)")

# Where OpenCC offers several simplified forms it lists the commonest first; for search the form that merges the
# variants is wanted instead, so that 藉口 finds 借口 and 瞭解 finds 了解.
MERGED_VARIANTS = {
    "瞭": "了",
    "藉": "借",
    "覆": "复",
    "祇": "只",
    "衹": "只",
    "劃": "划",
    "妳": "你",
    "牠": "它",
    "么": "么",
    "麼": "么",
}

STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "for",
        "from",
        "get",
        "had",
        "has",
        "have",
        "he",
        "her",
        "here",
        "hers",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "just",
        "let",
        "may",
        "me",
        "might",
        "mine",
        "must",
        "my",
        "of",
        "on",
        "or",
        "our",
        "ours",
        "out",
        "shall",
        "she",
        "should",
        "so",
        "some",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "to",
        "too",
        "up",
        "us",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
# Question words and particles: taken out of a query, never out of lore.
CHINESE_FILLERS = re.compile(
    "为什么|什么时候|什么|怎么样|怎样|怎么|多少钱|多少|哪里|哪儿|哪一|哪些|哪个|谁|几|是否|有没有|请问|告诉我|关于|"
    "[的了吗呢吧啊是在有和与及而被把我你他她它们这那嘛么]"
)


ACCENTED = re.compile("[\u00c0-\u024f\u0300-\u036f\u1e00-\u1eff]")
COMBINING = re.compile("[\u0300-\u036f]")
# Letters with a stroke, and those that are two: Unicode does not take them apart.
STROKED = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ħ": "h", "Ħ": "H", "ŧ": "t", "Ŧ": "T", "ı": "i"}
    | {"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th"}
)


@cache
def _fold_table() -> dict[int, str]:
    """Traditional → simplified, one character at a time.

    From OpenCC's dictionaries rather than by its converter: the pure-Python converter is about a hundred times
    slower than `str.translate`, and phrase rules matter for reading, not for finding.
    """
    spec = importlib.util.find_spec("opencc")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("opencc-python-reimplemented is not installed")
    folder = Path(spec.origin).parent / "dictionary"

    def pairs(name: str) -> dict[str, str]:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        rows = (line.split("\t") for line in lines if "\t" in line)
        return {key: values.split()[0] for key, values in rows if len(key) == 1 and len(values.split()[0]) == 1}

    simplified = pairs("TSCharacters.txt") | MERGED_VARIANTS
    for variant, standard in pairs("TWVariantsRev.txt").items():  # Taiwan's 為 and 裡 go by way of 爲 and 裏
        simplified.setdefault(variant, simplified.get(standard, standard))
    for key in simplified:  # 著 goes by way of 着, so that folding twice changes nothing
        simplified[key] = simplified.get(simplified[key], simplified[key])
    # Identities too: `str.translate` is several times slower on a character that its table lacks.
    common = {code: chr(code) for code in (*range(0x250), *range(0x2000, 0x2070), *range(0x3000, 0xA000))}
    full_width = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
    return common | full_width | {ord(key): value for key, value in simplified.items()}


@cache
def _script_markers() -> tuple[frozenset[str], frozenset[str]]:
    """Characters that only one script uses: (traditional, simplified)."""
    changed = {c: value for key, value in _fold_table().items() if (c := chr(key)) != value and HAN_CHARACTER.match(c)}
    traditional = set(changed) - set(MERGED_VARIANTS)
    simplified = {changed[key] for key in traditional}
    return frozenset(traditional), frozenset(simplified - traditional)


def fold(text: str) -> str:
    """The form that is compared: compatibility characters resolved, lower case, no accents, simplified Chinese."""
    if text.isascii():
        return text.lower()
    text = text.translate(_fold_table())
    if not unicodedata.is_normalized("NFKC", text):  # rare, and six times the cost of all the rest
        text = unicodedata.normalize("NFKC", text).translate(_fold_table())
    if ACCENTED.search(text):
        decomposed = unicodedata.normalize("NFD", text)
        text = unicodedata.normalize("NFC", COMBINING.sub("", decomposed)).translate(STROKED)
    return text.casefold()


def detect_language(text: str) -> Language:
    """The language most of the text is in. Chinese without a character of only one script counts as traditional."""
    num_han = len(HAN_CHARACTER.findall(text))
    num_words = len(re.findall(r"[A-Za-z]+", text))
    if num_han == 0 or num_han < num_words:
        return "en"
    traditional, simplified = _script_markers()
    num_simplified = sum(c in simplified for c in text)
    return "zh-Hans" if num_simplified > sum(c in traditional for c in text) else "zh-Hant"


@lru_cache(maxsize=1 << 16)  # lore repeats its words: five times faster than without
def stem(word: str) -> str:
    """Plural, possessive, -ed and -ing cut off, as Porter's first step does; enough for lore, and predictable."""
    word = word.split("'")[0].split("’")[0] if re.search("['’](s|ll|d|re|ve|m|t)?$", word) else word
    if len(word) <= 3:
        return word
    if word.endswith(("ies", "ied")):
        return word[:-2] if len(word) == 4 else word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("eed", "ing", "ed"):
        root = word.removesuffix(ending)
        if root == word:
            continue
        if ending == "eed" or len(root) < 3 or not re.search("[aeiouy]", root):
            return word
        # "running" → "run", "filling" → "fill", "hoped" → "hope" by way of dropping every final e below.
        word = root[:-1] if root[-1] == root[-2] and root[-1] not in "lsz" else root
        break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def terms(text: str) -> list[str]:
    """Search terms in order of appearance: stemmed words, numbers, Chinese characters and pairs of them."""
    found: list[str] = []
    for match in TERM.finditer(fold(text)):
        piece = match.group()
        if match.lastgroup == "han":
            found.extend(piece)
            found.extend(piece[i : i + 2] for i in range(len(piece) - 1))
        elif match.lastgroup == "number":
            found.append(piece.replace(",", ""))
        else:
            found.append(stem(piece))
    return found


def words(text: str) -> list[str]:
    """Folded words and numbers as they stand, without possessives; a run of Chinese is one word."""
    return [re.split("['’]", match.group())[0] for match in TERM.finditer(fold(text))]


def query_terms(text: str) -> list[str]:
    """`terms` of a question without the words every question has; all of them where nothing else is left."""
    folded = fold(text)
    words = [m.group() for m in TERM.finditer(CHINESE_FILLERS.sub(" ", folded))]
    kept = terms(" ".join(w for w in words if w not in STOP_WORDS))
    return list(dict.fromkeys(kept or terms(folded)))


# --- sentences ------------------------------------------------------------------------------------------------------

CLOSERS = "\"'”’」』）)]》〉】"
SENTENCE_END = re.compile(
    rf"(?P<wide>[。！？；…]+|[.!?]*[！？。…][.!?！？。…]*)[{re.escape(CLOSERS)}]*|[.!?]+[{re.escape(CLOSERS)}]*"
)
ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "mt",
        "ft",
        "no",
        "vol",
        "fig",
        "ch",
        "pp",
        "vs",
        "etc",
        "jr",
        "sr",
        "gen",
        "col",
        "capt",
        "sgt",
        "lt",
        "rev",
        "hon",
        "e.g",
        "i.e",
        "cf",
        "approx",
        "ca",
    ]
)
LAST_WORD = re.compile(r"[\w.]+$")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Start and end offsets of each sentence, without the spaces around it. A newline always ends one."""
    spans: list[tuple[int, int]] = []
    start = 0
    for line in text.splitlines(keepends=True):
        line_end = start + len(line)
        begin = start
        for match in SENTENCE_END.finditer(text, start, line_end):
            if match.end() < line_end and _is_end(text, begin, match):
                spans.append((begin, match.end()))
                begin = match.end()
        spans.append((begin, line_end))
        start = line_end
    return [trimmed for span in spans if (trimmed := _trim(text, *span)) is not None]


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, verbatim. Closing quotes stay; "Mr.", initials and decimals don't end one."""
    return [text[start:end] for start, end in sentence_spans(text)]


def _is_end(text: str, begin: int, match: re.Match[str]) -> bool:
    if match.group("wide"):
        # Western ellipsis in mid-sentence: "she waited… and left".
        return not (set(match.group()) <= {"…"} and re.match(r"\s*[a-z]", text[match.end() : match.end() + 8]))
    follower = text[match.end() : match.end() + 1]
    if not (follower.isspace() or HAN_CHARACTER.match(follower)):
        return False  # 3.5, file.txt, "?!" inside a word
    following = text[match.end() : match.end() + 8].lstrip()[:1]
    if match.group() != ".":
        return not following.islower()  # “Go!” she said.
    word = LAST_WORD.search(text, max(begin, match.start() - 24), match.start())
    last = word.group().lower() if word else ""
    if last == "etc":
        return following.isupper()
    if last == "no":  # "No. 7", but "She said no."
        return not following.isdigit()
    is_initial = len(last) == 1 and last.isalpha() and text[match.start() - 1].isupper() and last != "i"
    return not (last in ABBREVIATIONS or is_initial)


def _trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return None
    start += len(piece) - len(piece.lstrip())
    return start, start + len(stripped)
