"""The parts of the pocket SDXL: `StableDiffusionXLPipeline`'s architectures at about 17 million parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

SIZE = 128
FACTOR = 8
CHANNELS = 8
MAX_TOKENS = 64
VOCABULARY = 1600
TEXT_WIDTH = 128
START, END = "<|startoftext|>", "<|endoftext|>"
# CLIP's own way of cutting a text into words.
WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def make_tokenizer(texts: Iterable[str]) -> CLIPTokenizer:
    """A CLIP tokenizer whose pairs are learned from `texts`; what it has not seen is spelled in letters."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    learned = json.loads(bpe.to_str())["model"]
    # CLIP's tokenizer needs each letter as a word's end too.
    vocabulary: dict[str, int] = dict(learned["vocab"])
    for letter in pre_tokenizers.ByteLevel.alphabet():
        vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    with TemporaryDirectory() as folder:
        words, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        words.write_text(json.dumps(vocabulary), encoding="utf-8")
        lines = [pair if isinstance(pair, str) else " ".join(pair) for pair in learned["merges"]]
        merges.write_text("\n".join(["#version: 0.2", *lines]) + "\n", encoding="utf-8")
        return CLIPTokenizer(str(words), str(merges), model_max_length=MAX_TOKENS)


def make_autoencoder() -> Any:
    """128 × 128 pixels ↔ 16 × 16 latents of 8 channels: with SDXL's 4 a face at this size has no eyes left."""
    return AutoencoderKL(
        block_out_channels=(24, 48, 96, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
        force_upcast=False,
    )


def make_unet() -> Any:
    return UNet2DConditionModel(
        sample_size=SIZE // FACTOR,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(128, 192),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1),
        # In diffusers this is the number of heads: 32 wide each.
        attention_head_dim=(4, 6),
        cross_attention_dim=2 * TEXT_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=6 * 32 + TEXT_WIDTH,
        norm_num_groups=16,
    )


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=TEXT_WIDTH,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def make_text_encoders(tokenizer: CLIPTokenizer) -> tuple[Any, Any]:
    config = text_config(tokenizer)
    return CLIPTextModel(config), CLIPTextModelWithProjection(config)


def encoded_text(text_encoder: Any, text_encoder_2: Any, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the UNet gets of texts, as StableDiffusionXLPipeline makes it: states, [n, length, 2 × TEXT_WIDTH], and the
    pooled text, [n, TEXT_WIDTH]. tokens: [n, length]."""
    first = text_encoder(tokens, output_hidden_states=True)
    second = text_encoder_2(tokens, output_hidden_states=True)
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds


def make_scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        algorithm_type="dpmsolver++",
        solver_order=2,
    )


def make_pipeline(tokenizer: CLIPTokenizer, autoencoder: Any = None) -> Any:
    """All parts with fresh weights, but for the autoencoder's where one is given."""
    text_encoder, text_encoder_2 = make_text_encoders(tokenizer)
    pipeline: Any = StableDiffusionXLPipeline(
        vae=autoencoder or make_autoencoder(),
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=make_unet(),
        scheduler=make_scheduler(),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
