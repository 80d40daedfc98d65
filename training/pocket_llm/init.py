"""Initial weights that already copy.

What a turn needs most is to copy text that was never seen. A transformer learns that late: first heads that look at
the previous token, then, on top of them, heads that find the earlier place where the same tokens stood and take what
followed ("induction"). On two shared CPU cores that alone takes most of a run, so the circuit is set by hand and
training only has to refine it, and to learn which line to copy. Nothing is fixed: every weight trains.

The hidden vector is laid out as [token: 128 | sketch of the token before: 64 | of the one before that: 64].
"""

from __future__ import annotations

import torch
from transformers import Qwen2ForCausalLM

TOKEN, SKETCH = 128, 64
TOKEN_STD = 0.06
# Rotary pairs: the fast ones tell neighbours apart, the slow ones hardly turn within a prompt.
FAST_PAIRS = range(0, 6)
SLOW_PAIRS = range(14, 32)


@torch.no_grad()
def induction(model: Qwen2ForCausalLM, sharpness: float = 18.0, previous: float = 7.0) -> None:
    """Set previous-token heads in the first layer, induction and same-token heads in the second."""
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    pairs = size // 2
    theta = config.rope_parameters["rope_theta"]
    generator = torch.Generator().manual_seed(0)
    embedding = model.model.embed_tokens.weight
    embedding.zero_()
    embedding[:, :TOKEN] = torch.randn(embedding.shape[0], TOKEN, generator=generator) * TOKEN_STD
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    sketch = torch.linalg.qr(torch.randn(TOKEN, SKETCH, generator=generator))[0].T

    first = model.model.layers[0].self_attn
    for head, distance in ((0, 1), (1, 2)):
        rows = slice(head * size, (head + 1) * size)
        for projection in (first.q_proj, first.k_proj):
            projection.weight[rows] *= 0.1
        for pair in FAST_PAIRS:
            angle = torch.tensor(distance * theta ** (-pair / pairs))
            first.q_proj.bias[head * size + pair] = previous
            first.k_proj.bias[head * size + pair] = previous * torch.cos(angle)
            first.k_proj.bias[head * size + pair + pairs] = previous * torch.sin(angle)
        first.v_proj.weight[rows] = 0.0
        first.v_proj.weight[rows, :TOKEN] = sketch
        start = TOKEN + head * SKETCH
        first.o_proj.weight[start : start + SKETCH, rows] = torch.eye(SKETCH) * TOKEN_STD

    # Normalised, the token's part has a spread near 1.2 and the sketches near 1.0: scores come out at a few tens.
    scale = (sharpness * size**0.5 / (2 * len(SLOW_PAIRS))) ** 0.5
    slow = [pair + half for half in (0, pairs) for pair in SLOW_PAIRS]
    last = len(slow) * 2 // 3  # two thirds of the match is on the last token, one third on the one before it
    second = model.model.layers[1].self_attn
    for head in range(3):
        rows = slice(head * size, (head + 1) * size)
        second.q_proj.weight[rows] = 0.0
        second.k_proj.weight[rows] = 0.0
        second.v_proj.weight[rows] = 0.0
        for number, at in enumerate(slow):
            row = head * size + at
            if number < last or head == 2:
                second.q_proj.weight[row, :TOKEN] = sketch[number] * scale
            else:
                second.q_proj.weight[row, TOKEN + number] = scale
            if head == 2:
                second.k_proj.weight[row, :TOKEN] = sketch[number] * scale * 0.5
            elif number < last:
                second.k_proj.weight[row, TOKEN + number] = scale
            else:
                second.k_proj.weight[row, TOKEN + SKETCH + number] = scale
        if head < 2:
            columns = slice(head * SKETCH, head * SKETCH + size)
            second.v_proj.weight[rows, columns] = torch.eye(size)
            second.o_proj.weight[columns, rows] = torch.eye(size) * TOKEN_STD * 2
        else:
            second.v_proj.weight[rows] = torch.randn(size, config.hidden_size, generator=generator) * 0.02
