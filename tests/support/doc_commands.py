"""The shell commands of README and docs/, in order: test_docs.py checks them, integration tests run them.

    for block in blocks():
        if block.needs_bundle:
            subprocess.run(["bash", "-euo", "pipefail", "-c", block.script(base_url=url)], cwd=folder, check=True)

Blocks of one page build on those before them (a page makes the files that it uploads), so give each page one folder.

Only blocks fenced as ```bash are commands; what is not meant to be typed as it stands is fenced as ```text.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

BASE_URL = "http://127.0.0.1:8000"
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
SEPARATORS = {"|", "||", "&&", ";", "&", "|&"}
# Put before the words of a command without being part of it.
ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class Block:
    """One fenced block. `line` is that of its first command, from 1."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each simple command: lines, their pipes and the insides of `$(…)` taken apart."""
        return list(_commands(self.text))

    @property
    def needs_bundle(self) -> bool:
        """Whether the block talks to a running bundle, and can be run as it stands when there is one."""
        names = {words[0] for words in self.commands}
        return bool(names & {"curl", "holodeck"}) and not names & {"make", "export"} and not self.is_interactive

    @property
    def is_interactive(self) -> bool:
        """Whether it plays at the keyboard."""
        return any(
            line.lstrip().startswith(("holodeck play", ".venv/bin/holodeck play")) for line in self.text.splitlines()
        )

    def script(self, *, base_url: str) -> str:
        """The block for a bundle at another address (holodeck takes its own from SAGAFORGE_URL), to be run in an empty
        folder with this environment's programs on the PATH."""
        return self.text.replace(BASE_URL, base_url).replace(".venv/bin/", f"{Path(sys.executable).parent}/")


def blocks() -> list[Block]:
    """Every ```bash block of every page, in order."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        for match in re.finditer(r"^```bash\n(.*?)^```$", text, re.M | re.S):
            found.append(Block(page, text.count("\n", 0, match.start(1)) + 1, match[1]))
    return found


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        line, inner = _substituted(line)
        for script in inner:
            yield from _commands(script)
        # ">" is no separator here: a redirection's target is a word that no check looks at.
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in SEPARATORS:
                words.append(word)
                continue
            while words and ASSIGNMENT.match(words[0]):
                words.pop(0)
            if words:
                yield [Path(words[0]).name, *words[1:]]
            words = []


def _substituted(line: str) -> tuple[str, list[str]]:
    """The line with a plain word for each `$(…)`, and what stood inside. Parentheses inside must balance."""
    inner = []
    while (start := line.find("$(")) >= 0:
        depth, end = 1, start + 2
        while depth and end < len(line):
            depth += {"(": 1, ")": -1}.get(line[end], 0)
            end += 1
        inner.append(line[start + 2 : end - 1])
        line = line[:start] + "SUBSTITUTED" + line[end:]
    return line, inner
