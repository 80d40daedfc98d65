"""Retrieval on 1,000 paragraphs that nobody of this project wrote, with 400 questions made of them, in each language.

    apt-get install manpages-zh        # Debian's manual pages in Chinese
    python -m benchmarks.bench_retrieval

Chinese: paragraphs of those pages, in Traditional characters; English: docstrings of Python's standard library. A
question is a piece of one paragraph with every third word or so left out, behind a question word; half of the Chinese
ones are asked in Simplified characters. R@k: the paragraph is among the first k. Each arm alone and both fused, on real
LanceDB tables.
"""

from __future__ import annotations

import ast
import asyncio
import gzip
import io
import json
import random
import re
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.__main__ import write

from sagaforge.datasets.packs.pack import read_upload
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.datasets.worlds.ingest import ingest
from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.deployments.retrieval.index import LoreIndex
from sagaforge.storage import Storage
from sagaforge.text.terms import HAN_CHARACTER

PAGES = Path("/usr/share/man/zh_TW")
NUM_PARAGRAPHS, NUM_QUESTIONS = 1000, 400
SHARE_KEPT = 0.65
ARMS: dict[str, dict[str, float]] = {"BM25": {"vector_weight": 0.0}, "vectors": {"lexical_weight": 0.0}, "fused": {}}
EN_ASKED, ZH_ASKED = ["What", "How", "When", "Why", "Which"], ["什麼是", "怎麼", "為什麼", "何時", "哪個"]


def chinese_paragraphs() -> Iterator[str]:
    """Plain text between the requests of the pages' roff."""
    for path in sorted(PAGES.glob("man*/*.gz")):
        lines = gzip.decompress(path.read_bytes()).decode("utf-8", "replace").split("\n")
        for part in "\n".join("" if line.startswith((".", "'")) else line for line in lines).split("\n\n"):
            text = re.sub(r"\\f.|\\&|\\\||\\\(..", "", part).replace("\\-", "-").replace("\\", "")
            text = re.sub(r"(?<=[\u3000-\u9fff，。；：]) (?=[\u3000-\u9fff])", "", " ".join(text.split()))
            if 60 <= len(text) <= 500 and len(HAN_CHARACTER.findall(text)) > len(text) / 2:
                yield text


def english_paragraphs() -> Iterator[str]:
    """Paragraphs of prose in docstrings."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py")):
        if {"site-packages", "test", "tests", "lib2to3", "idlelib"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for part in (ast.get_docstring(node) or "").split("\n\n"):
                    text = " ".join(part.split())
                    if 100 <= len(text) <= 600 and text.endswith(".") and ">>>" not in text and text[0].isupper():
                        yield text


def chosen(paragraphs: Iterator[str], rng: random.Random) -> list[str]:
    """As many as are wanted, none of which is another's twin. Leaves with what to do where there are not so many."""
    distinct = {text[:40]: text for text in paragraphs}
    if len(distinct) < NUM_PARAGRAPHS:
        sys.exit(f"only {len(distinct)} of {NUM_PARAGRAPHS} paragraphs: run apt-get install manpages-zh first")
    return rng.sample(list(distinct.values()), NUM_PARAGRAPHS)


def question_of(paragraph: str, language: str, rng: random.Random) -> str:
    """A piece of the paragraph with some words left out."""
    if language == "en":
        words = re.findall(r"[A-Za-z'-]+", paragraph)
        start = rng.randrange(max(1, len(words) - 12))
        kept = [word.lower() for word in words[start : start + 12] if rng.random() < SHARE_KEPT]
        return f"{rng.choice(EN_ASKED)} {' '.join(kept)}?"
    text = "".join(HAN_CHARACTER.findall(paragraph))
    start = rng.randrange(max(1, len(text) - 18))
    pieces = [text[at : at + 2] for at in range(start, min(start + 18, len(text)), 2)]
    asked = rng.choice(ZH_ASKED) + "".join(piece for piece in pieces if rng.random() < SHARE_KEPT) + "？"
    return _simplified(asked) if rng.random() < 0.5 else asked


def _simplified(text: str) -> str:
    import opencc

    return str(opencc.OpenCC("t2s").convert(text))


async def measure(language: str, paragraphs: list[str], rng: random.Random) -> dict[str, dict[str, float]]:
    """R@1, R@5 and milliseconds a question by arm."""
    with tempfile.TemporaryDirectory() as folder:
        storage, embedder = Storage(folder), load_embedder("pocket-embedder")
        lore = "".join(f"## §{number}\n\n{text}\n\n" for number, text in enumerate(paragraphs))
        writer = TableWriter(storage, "library")
        pack = read_upload("pages.md", io.BytesIO(f"# Pages\n\n{lore}".encode()))
        await ingest(pack, "pages", None, False, storage=storage, writer=writer, embedder=embedder)
        await writer.close()
        asked = rng.sample(range(len(paragraphs)), NUM_QUESTIONS)
        questions = [(number, question_of(paragraphs[number], language, rng)) for number in asked]
        figures = {}
        for arm, weights in ARMS.items():
            index = LoreIndex(storage, embedder, **weights)
            ranks, began = [], time.perf_counter()
            for number, question in questions:
                found = [chunk.metadata.section.split("§")[-1] for chunk in await index.search("pages", 1, question, 5)]
                ranks.append(found.index(str(number)) if str(number) in found else 9)
            figures[arm] = {
                "r_at_1": sum(rank == 0 for rank in ranks) / len(ranks),
                "r_at_5": sum(rank < 5 for rank in ranks) / len(ranks),
                "ms": round(1000 * (time.perf_counter() - began) / len(ranks), 1),
            }
        return figures


def main() -> int:
    if not PAGES.is_dir():
        print("Debian's Chinese manual pages are not here: apt-get install manpages-zh", file=sys.stderr)
        return 1
    results = {}
    for language, paragraphs in (("zh", chinese_paragraphs()), ("en", english_paragraphs())):
        rng = random.Random(f"retrieval-{language}")
        results[language] = asyncio.run(measure(language, chosen(paragraphs, rng), rng))
        for arm, figures in results[language].items():
            print(f"{language} {arm:8} {json.dumps(figures)}")
    write("bench_retrieval", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
