"""Train the pocket reranker: tables that tell which sentence answers a question.

    python -m sagaforge.training.pocket.reranker                      # writes models/pocket-reranker, in some minutes

It learns from the wordings of facts and of their questions that the pocket LLM learns from
(`evaluation/generator/facts_*.txt`): of the sentences of all relations a question must find its own. Names are left out
on both sides, because they are matched letter by letter elsewhere. What the files hold out only scores it. The same
seed gives the same file.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from sagaforge.evaluation.generator import facts, lexicon
from sagaforge.pocket.line_matcher import TABLES_FILE, TERMS_FILE
from sagaforge.text.terms import terms

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Config:
    """Everything that shapes a run."""

    output: Path = Path("models/pocket-reranker")
    dim: int = 64
    steps: int = 3000
    questions_per_step: int = 192
    rate: float = 1e-2
    dropout: float = 0.3
    scale: float = 12.0
    seed: int = 1


class Matcher(nn.Module):
    """The tables as they are learned. Number 0 stands for nothing."""

    def __init__(self, num_terms: int, config: Config) -> None:
        super().__init__()
        self.config = config
        self.questions, self.lines = (
            nn.EmbeddingBag(num_terms + 1, config.dim, mode="sum", padding_idx=0) for _ in range(2)
        )
        for table in (self.questions, self.lines):
            nn.init.normal_(table.weight, std=0.1)
            table.weight.data[0] = 0

    def forward(self, asked: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Logits of (questions, sentences), from padded numbers of terms."""
        return self.config.scale * self._vectors(self.questions, asked) @ self._vectors(self.lines, told).T

    def _vectors(self, table: nn.EmbeddingBag, numbers: torch.Tensor) -> torch.Tensor:
        if self.training:
            numbers = torch.where(torch.rand(numbers.shape) < self.config.dropout, 0, numbers)
        vectors = table(numbers)
        return vectors / (1.0 + vectors.norm(dim=-1, keepdim=True))


def without_names(wording: str, language: str, rng: random.Random) -> str:
    """A wording as it is seen when the names in it are known: kinds of things stay, names and numbers go."""
    is_zh = language == "zh"
    kept = {
        "w": rng.choice(lexicon.ZH_JOBS if is_zh else lexicon.EN_JOBS),
        "k": rng.choice(lexicon.ZH_KIN if is_zh else lexicon.EN_KIN),
        "m": rng.choice(lexicon.ZH_TIMES if is_zh else lexicon.EN_TIMES),
        "f": rng.choice(lexicon.ZH_ABSTRACT if is_zh else lexicon.EN_ABSTRACT),
    }
    return wording.format(**dict.fromkeys("abpqtuegnxy", " ") | kept)


def list_terms(seed: int) -> list[str]:
    """The terms of all wordings that are not held out."""
    rng = random.Random(seed)
    found = set[str]()
    for language in LANGUAGES:
        for form in facts.forms(language):
            for wording in form.told + form.asked:
                for _ in range(4):
                    found.update(terms(without_names(wording, language, rng)))
    return sorted(found)


class Drawer:
    """Draws questions and sentences as padded numbers of terms."""

    def __init__(self, listed: Sequence[str], rng: random.Random) -> None:
        self._numbers = {term: number for number, term in enumerate(listed, 1)}
        self._rng = rng

    def draw(self, wordings: Sequence[str], language: str) -> torch.Tensor:
        rows = []
        for wording in wordings:
            found = set(terms(without_names(wording, language, self._rng)))
            rows.append(torch.tensor(sorted(self._numbers[term] for term in found if term in self._numbers) or [0]))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def accuracy(matcher: Matcher, drawer: Drawer, language: str) -> float:
    """Of the held-out questions, the share whose own relation's sentence is the likeliest of all relations'."""
    matcher.eval()
    forms = facts.forms(language)
    right = []
    with torch.no_grad():
        for number in range(max(len(form.told_held_out) for form in forms)):
            told = drawer.draw([form.told_held_out[number % len(form.told_held_out)] for form in forms], language)
            for wanted, form in enumerate(forms):
                logits = matcher(drawer.draw(form.asked_held_out, language), told)
                right += (logits.argmax(dim=1) == wanted).tolist()
    matcher.train()
    return float(np.mean(right))


def train(config: Config) -> dict[str, float]:
    """Train, score, write the folder."""
    torch.manual_seed(config.seed)
    rng = random.Random(config.seed)
    listed = list_terms(config.seed)
    matcher, drawer = Matcher(len(listed), config), Drawer(listed, rng)
    optimizer = torch.optim.Adam(matcher.parameters(), lr=config.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.rate, total_steps=config.steps)
    for step in range(1, config.steps + 1):
        language = LANGUAGES[step % 2]
        forms = facts.forms(language)
        wanted = [rng.randrange(len(forms)) for _ in range(config.questions_per_step)]
        asked = drawer.draw([rng.choice(forms[number].asked) for number in wanted], language)
        told = drawer.draw([rng.choice(form.told) for form in forms], language)
        loss = functional.cross_entropy(matcher(asked, told), torch.tensor(wanted))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            held_out = {language: round(accuracy(matcher, drawer, language), 3) for language in LANGUAGES}
            print(f"step {step} loss {loss.item():.3f} held out {held_out}", flush=True)
    scores = {language: round(accuracy(matcher, drawer, language), 3) for language in LANGUAGES}
    write(matcher, listed, config, scores)
    return scores


CARD = """---
license: apache-2.0
language: [en, zh]
---

# pocket-reranker

Two tables of {num_terms:,} terms x {dim} dimensions, float16, {megabytes:.1f} MB, that tell which sentence answers a
question in English or Chinese (`src/sagaforge/pocket/line_matcher.py`). Trained by
`python -m sagaforge.training.pocket.reranker`.

- **Use**: the order of the lore lines in a prompt, beside names and words in common.
- **Data**: the wordings of {num_relations} relations that the pocket LLM is trained with
  (`evaluation/generator/facts_en.txt`, `facts_zh.txt`); nothing else.
- **Score**: with wordings held out on both sides and without names, a question's own relation is the likeliest of the
  {num_relations} in {en:.2f} (English) and {zh:.2f} (Chinese); by chance it would be in {chance:.2f}.
- **Limits**: it knows those relations and the words for them; of others it says nothing (0) or something vague. Word
  order and negation leave no trace.
- **Licence**: Apache-2.0, as the repository.
"""


def write(matcher: Matcher, listed: Sequence[str], config: Config, scores: dict[str, float]) -> None:
    """The folder: terms, tables and card."""
    config.output.mkdir(parents=True, exist_ok=True)
    (config.output / TERMS_FILE).write_text(json.dumps(listed, ensure_ascii=False, indent=0), encoding="utf-8")
    tables = {"questions": matcher.questions, "lines": matcher.lines}
    save_file(
        {name: table.weight.detach()[1:].to(torch.float16).contiguous() for name, table in tables.items()},
        config.output / TABLES_FILE,
    )
    num_bytes = sum(path.stat().st_size for path in config.output.iterdir())
    num_relations = len(facts.forms("en"))
    card = CARD.format(
        num_terms=len(listed),
        dim=config.dim,
        megabytes=num_bytes / 2**20,
        num_relations=num_relations,
        chance=1 / num_relations,
        **scores,
    )
    (config.output / "README.md").write_text(card, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Config.output)
    parser.add_argument("--dim", type=int, default=Config.dim)
    parser.add_argument("--steps", type=int, default=Config.steps)
    parser.add_argument("--dropout", type=float, default=Config.dropout)
    arguments = parser.parse_args()
    scores = train(Config(arguments.output, arguments.dim, arguments.steps, dropout=arguments.dropout))
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
