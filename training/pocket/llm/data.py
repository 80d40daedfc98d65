"""Scenes as token rows: several answers share their prompt, several documents share a row.

A document is a prompt up to the player's line, then tails (the message and the answer to it). A tail sees the prompt
and itself, as it will in play, and its positions follow the prompt's; a mask and position ids say so. One pass over
the prompt then teaches several answers, which more than doubles what a token of compute teaches.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from sagaforge.functions.story.prompt import build_messages
from sagaforge.profiles import POCKET_PROMPT
from sagaforge.training.pocket.llm import worldgen

PLAYER = "\nPlayer: "
IGNORED = -100


@dataclass
class Document:
    """Token ids of a prompt and of its tails; `learned` is how many last tokens of each tail bear loss."""

    prompt: list[int]
    tails: list[list[int]]
    learned: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.tails))


@dataclass
class Rows:
    """One batch: ids, positions, what each token may attend to, and the targets (shifted already)."""

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor


def turn_document(tokenizer: PreTrainedTokenizerFast, scene: worldgen.Scene, max_tokens: int) -> Document:
    """A scene in exactly the chat text of play."""
    whole = tokenizer.apply_chat_template(
        build_messages(scene.prompt, POCKET_PROMPT), tokenize=False, add_generation_prompt=True
    )
    prefix, rest = whole[: whole.rindex(PLAYER)], whole[whole.rindex(PLAYER) + len(PLAYER) :]
    document = Document(tokenizer.encode(prefix), [], [])
    for message, turn in scene.turns:
        squeezed = " ".join(message.split())
        asked = tokenizer.encode(PLAYER + squeezed + rest)
        answer = tokenizer.encode(worldgen.serialise(turn) + "<|im_end|>")
        if len(document) + len(asked) + len(answer) > max_tokens:
            break
        document.tails.append(asked + answer)
        document.learned.append(len(answer))
    return document


def documents(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, max_tokens: int, wildness: float
) -> Iterator[Document]:
    """An endless stream in both languages; `wildness` is the share of lines made of dictionary words."""
    while True:
        language = "en" if rng.random() < 0.5 else "zh"
        scene = worldgen.make_scene(rng.randrange(2**48), language, wildness, turns=rng.randint(3, 6))
        document = turn_document(tokenizer, scene, max_tokens)
        if document.tails:
            yield document


def batch(stream: Iterator[Document], rows: int, width: int) -> Rows:
    """Fill `rows` rows of `width` tokens, first fit; what fits nowhere twice in a row ends the filling."""
    packed: list[list[Document]] = [[] for _ in range(rows)]
    free = [width] * rows
    misses = 0
    while misses < 3:
        document = next(stream)
        fits = [row for row in range(rows) if free[row] >= len(document)]
        if not fits:
            misses += 1
            continue
        packed[fits[0]].append(document)
        free[fits[0]] -= len(document)
    return collate(packed, width)


def collate(packed: list[list[Document]], width: int) -> Rows:
    """Tensors of packed documents."""
    count = len(packed)
    ids = torch.zeros(count, width, dtype=torch.long)
    positions = torch.zeros(count, width, dtype=torch.long)
    targets = torch.full((count, width), IGNORED, dtype=torch.long)
    # Padding is a document of its own, so that no row of the mask is empty.
    owner = torch.full((count, width), -1, dtype=torch.long)
    tail_of = torch.zeros(count, width, dtype=torch.long)
    for row, row_documents in enumerate(packed):
        at = 0
        for number, document in enumerate(row_documents):
            size, start = len(document.prompt), at
            ids[row, at : at + size] = torch.tensor(document.prompt)
            positions[row, at : at + size] = torch.arange(size)
            at += size
            for index, (tail, learned) in enumerate(zip(document.tails, document.learned, strict=True), 1):
                end = at + len(tail)
                ids[row, at:end] = torch.tensor(tail)
                positions[row, at:end] = torch.arange(size, size + len(tail))
                targets[row, end - learned - 1 : end - 1] = torch.tensor(tail[-learned:])
                tail_of[row, at:end] = index
                at = end
            owner[row, start:at] = number
    same = owner[:, :, None] == owner[:, None, :]
    seen = (tail_of[:, None, :] == 0) | (tail_of[:, :, None] == tail_of[:, None, :])
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    return Rows(ids, positions, (same & seen & causal)[:, None], targets)
