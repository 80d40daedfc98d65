"""The pocket model's tokenizer: byte-level BPE with the prompt's and the answer's scaffolding as single tokens.

    PYTHONPATH=src python -m sagaforge.training.pocket.llm.tokenizer models/pocket-llm

Three choices make copying easy for a small model. Digits and Han characters stand alone. A citation with its opening
(`{"lore":[3],"text":"`) is one token, a pointer to the token `\\n[3] ` that opens the line. And the separators before
a name or a sentence (`: `, `; `) hold their space, so that text is cut alike where it is read and where it is written.
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sagaforge.evaluation.generator.lexicon import load_lexicon
from sagaforge.functions.story.prompt import LANGUAGES, SYSTEM, build_messages
from sagaforge.profiles import POCKET_PROMPT
from sagaforge.training.pocket.llm import worldgen

VOCABULARY_SIZE = 7600
CONTEXT = 2048
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
EMOTIONS = ("neutral", "happy", "sad", "angry", "afraid", "curious", "amused", "tense")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

PIECES = Regex(r"\p{Han}|\p{N}| ?[A-Za-zÀ-ÖØ-öø-ÿĀ-ſ]+| ?[^\s\p{L}\p{N}]|\s|.")


def scaffold() -> list[str]:
    """Fixed text of prompts and answers."""
    head, middle, tail = re.split(r"\{title\}|\{persona\}", SYSTEM)
    texts = [head, middle.rstrip() + " " if middle.endswith(" ") else middle, "The player talks with "]
    texts += [tail.replace("{language}", name) for name in LANGUAGES.values()]
    texts += ["Scene: ", "Place: ", "Here: ", "Carries: ", "Knows: ", "Established: ", "Before: ", " → ", "; ", ": "]
    texts += ["Lore:", "Lore: none", "\nPlayer: ", *(f"\n[{number}] " for number in range(1, 25))]
    texts += ['{"narration":[', '{"lore":[],"text":"', *(f'{{"lore":[{n}],"text":"' for n in range(1, 25))]
    texts += ['"},', '"}],"dialogues":[', '{"speaker":"', '"}],"choices":[', '],"choices":[', '{"text":"']
    texts += [f'","emotion":"{emotion}","text":"' for emotion in EMOTIONS]
    texts += ['","if":[],"then":[]},', '","if":[],"then":[]}],"changes":[', '","if":[],"then":[', '","if":[']
    texts += ['"}],"then":[]},', '"}]},', '"}]}],"changes":[', '"}],"then":[]}],"changes":[', "]}", '"}]}', "}]}"]
    for kind in ("item", "location", "relationship"):
        texts += [f'{{"op":"{op}","kind":"{kind}","name":"' for op in ("set", "add", "remove", "change")]
        texts.append(f'{{"kind":"{kind}","name":"')
    texts += ['","op":"has"', '","op":"', '","value":', "user\n", "system\n", "assistant\n"]
    return list(dict.fromkeys(texts))


def corpus(seed: int = 0, scenes: int = 4000) -> list[str]:
    """What the merges are learned from: generated turns, and every word and character of the dictionaries."""
    rng = random.Random(seed)
    lexicon = load_lexicon()
    fixed = re.compile("|".join(re.escape(text) for text in sorted(scaffold(), key=len, reverse=True)))
    texts = []
    for number in range(scenes):
        language = "zh" if number % 3 == 0 else "en"
        scene = worldgen.make_scene(rng.randrange(2**40), language, wildness=0.4, turns=1)
        message, turn = scene.turns[0]
        whole = "\n".join(
            [build_messages(scene.prompt, POCKET_PROMPT)[1]["content"] + message, worldgen.serialise(turn)]
        )
        # Cut as it will be cut once the scaffold stands as tokens, so that "The" after ": " is learned without a space.
        texts += [part for part in fixed.split(whole) if part]
    for rank, word in enumerate(lexicon.en):
        # A frequent word counts more, as it would in prose, and also capitalised and at a sentence's start.
        texts += [f" {word} {word} {word.capitalize()}"] * (1 + 6000 // (rank + 200))
        texts.append(word)
    for rank, char in enumerate(lexicon.zh_chars[:4000]):
        texts.append(char * (8 + 20_000 // (rank + 50)))
        simplified = lexicon.to_simplified(char)
        if simplified != char and rank < 2500:
            texts.append(simplified * (6 + 4000 // (rank + 50)))
    return texts


def build(seed: int = 0) -> PreTrainedTokenizerFast:
    """Train the tokenizer from its seed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(PIECES, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fixed = scaffold()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(fixed) - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed), trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in fixed])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def main() -> None:
    build().save_pretrained(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
