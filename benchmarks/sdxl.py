"""SDXL at its full size with random weights, for benchmarks on machines that have a GPU and no model.

The sizes are those of stabilityai/stable-diffusion-xl-base-1.0's configuration files (arXiv 2307.01952): a UNet of 2.6
billion parameters, CLIP ViT-L and OpenCLIP ViT-bigG text encoders, a VAE of 84 million.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sagaforge.training.pocket.sdxl import models

UNET = {
    "sample_size": 128,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "force_upcast": False,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
BIG_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}


def make_pipeline(device: str, dtype: torch.dtype) -> Any:
    """All parts on `device`; the tokenizer is a small one, because words do not change what a picture costs."""
    tokenizer = models.make_tokenizer([f"picture {n} of a red cat" for n in range(50)])
    ids = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    tokenizer.model_max_length = 77
    with torch.device(device):
        text_encoder = CLIPTextModel(CLIPTextConfig(**CLIP_L, **ids, projection_dim=768))
        text_encoder_2 = CLIPTextModelWithProjection(CLIPTextConfig(**BIG_G, **ids, projection_dim=1280))
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    pipeline: Any = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )
    pipeline.to(device, dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
