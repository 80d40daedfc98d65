"""Score answers on held-out scenes, by what the generator knows: not by the citation gate's own code.

PYTHONPATH=src python -m sagaforge.training.pocket.llm.score models/pocket-llm --examples 60
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from sagaforge.evaluation.generator import lore
from sagaforge.functions.story.prompt import build_messages
from sagaforge.profiles import POCKET_PROMPT
from sagaforge.schemas import ModelTurn
from sagaforge.training.pocket.llm import worldgen

Writer = Callable[[list[list[dict[str, str]]]], list[str]]
MAX_NEW_TOKENS = 260


def transformers_writer(model: Any, words: Any) -> Writer:
    """Answers by greedy decoding, all prompts in one batch."""

    def write(conversations: list[list[dict[str, str]]]) -> list[str]:
        texts = [words.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in conversations]
        batch = words(texts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
        with torch.no_grad():
            ids = model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        return words.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)

    return write


def score(write: Writer, language: str, examples: int, seed: int = 9, wildness: float = 0.25) -> dict[str, float]:
    """Shares, each of what it can be said of: valid answers; first cited line as wanted; cited text true to its line;
    unanswerable messages left uncited; distinct choices that name something of the prompt."""
    scenes = [
        worldgen.make_scene(seed * 100_000 + n, language, wildness, turns=1, held_out=True) for n in range(examples)
    ]
    prompts = [build_messages(replace(scene.prompt, message=scene.turns[0][0]), POCKET_PROMPT) for scene in scenes]
    answers = write(prompts)
    valid, right, wanted, copied, cited, silent, unanswerable, named = 0, 0, 0, 0, 0, 0, 0, 0
    for scene, prompt, answer in zip(scenes, prompts, answers, strict=True):
        truth = scene.turns[0][1]
        expected = [sentence.lore[0] for sentence in truth.narration if sentence.lore]
        wanted, unanswerable = wanted + bool(expected), unanswerable + (not expected)
        try:
            turn = ModelTurn.model_validate_json(answer)
        except ValidationError:
            continue
        valid += 1
        found = [sentence for sentence in turn.narration if sentence.lore]
        silent += not expected and not found
        right += bool(expected and found and found[0].lore[0] == expected[0])
        for sentence in found:
            cited += 1
            copied += holds(sentence.text, sentence.lore, scene)
        asked = prompt[1]["content"].lower()
        texts = [choice.text.lower() for choice in turn.choices]
        named += len(set(texts)) == len(texts) and any(names(text, asked) for text in texts)
    return {
        "valid": round(valid / examples, 3),
        "line": round(right / max(1, wanted), 3),
        "copied": round(copied / max(1, cited), 3),
        "silent": round(silent / max(1, unanswerable), 3),
        "choices": round(named / examples, 3),
    }


def holds(text: str, numbers: list[int], scene: worldgen.Scene) -> bool:
    """Whether a sentence is one of its lines' text, but for the name that stands for a leading pronoun."""
    for number in numbers:
        if number <= len(scene.prompt.lore):
            line = scene.prompt.lore[number - 1]
            known = [
                lore.curly(line.text),
                line.section + line.text[1:],
                f"{line.section} {line.text.partition(' ')[2]}",
            ]
            if any(text in variant for variant in known):
                return True
    return False


def names(text: str, prompt: str) -> bool:
    """Whether a choice ends in, or holds, a piece of the prompt long enough to be a name."""
    size = 4 if text.isascii() else 2
    return any(text[at : at + size] in prompt for at in range(max(1, len(text) - size + 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--examples", type=int, default=60)
    options = parser.parse_args()
    words = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    for language in ("en", "zh"):
        began = time.time()
        scores = score(transformers_writer(model, words), language, options.examples)
        print(json.dumps({"language": language, **scores, "seconds": round(time.time() - began, 1)}))


if __name__ == "__main__":
    main()
