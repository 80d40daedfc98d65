"""Train the pocket LLM on a CPU, from nothing or from a folder of exported weights.

    PYTHONPATH=src python -m sagaforge.training.pocket.llm.train --minutes 100 --run /tmp/pocket_llm_run
    PYTHONPATH=src python -m sagaforge.training.pocket.llm.train --minutes 50 --run /tmp/more --base models/pocket-llm

Resumes from the run's last checkpoint, which SIGTERM and SIGINT also leave behind. The learning rate warms up, stays,
and falls over the last part of the time given: the schedule follows the clock, because on a shared machine the clock is
what is known (a pause does not count). The log has one line a report (tokens, loss, speed) and a held-out score every
few minutes. Export with `…pocket_llm.export`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from sagaforge.training import runs
from sagaforge.training.muon import Muon
from sagaforge.training.pocket.llm import data, init, score, tokenizer


@dataclass(frozen=True)
class Config:
    """Everything that shapes a run."""

    run: str = "/tmp/pocket_llm_run"
    base: str = ""
    minutes: float = 100.0
    seed: int = 1
    threads: int = 1
    hidden: int = 256
    layers: int = 5
    heads: int = 4
    feed_forward: int = 512
    rope_theta: float = 1_000_000.0
    rows: int = 12
    width: int = 512
    learned_per_step: int = 2500
    matrix_rate: float = 2e-3
    vector_rate: float = 1e-3
    set_by_hand_rate: float = 3e-4
    weight_decay: float = 0.0
    warmup_steps: int = 60
    decay_share: float = 0.3
    compile: bool = True
    report_every: int = 25
    save_minutes: float = 3.0
    score_minutes: float = 20.0


def model_config(config: Config, vocabulary: int, end: int, pad: int) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        intermediate_size=config.feed_forward,
        max_position_embeddings=tokenizer.CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=True,
        eos_token_id=end,
        bos_token_id=pad,
        pad_token_id=pad,
    )


def make_optimizers(model: Qwen2ForCausalLM, config: Config) -> list[torch.optim.Optimizer]:
    """Muon for matrices, AdamW for the rest; what was set by hand moves slowly, or it would be lost to noise first."""
    by_hand = ("model.layers.0.self_attn", "model.layers.1.self_attn", "model.embed_tokens")
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and "embed_tokens" not in name
        groups.setdefault((is_matrix, name.startswith(by_hand)), []).append(parameter)
    matrices = [
        {"params": groups[True, True], "lr": config.set_by_hand_rate},
        {"params": groups[True, False], "lr": config.matrix_rate},
    ]
    others = [
        {"params": groups[False, True], "lr": config.set_by_hand_rate},
        {"params": groups[False, False], "lr": config.vector_rate},
    ]
    return [
        Muon(matrices, weight_decay=config.weight_decay),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def loss_of(model: Qwen2ForCausalLM, rows: data.Rows, where: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    hidden = model.model(input_ids=rows.ids, attention_mask=rows.mask, position_ids=rows.positions, use_cache=False)
    chosen = hidden.last_hidden_state.reshape(-1, hidden.last_hidden_state.shape[-1])[where]
    return functional.cross_entropy(model.lm_head(chosen).float(), targets, ignore_index=data.IGNORED)


def learned_places(rows: data.Rows, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where loss is taken, padded to a constant count so that the compiled step has one shape."""
    flat = rows.targets.reshape(-1)
    where = torch.nonzero(flat != data.IGNORED).squeeze(1)[:count]
    targets = flat[where]
    missing = count - len(where)
    return functional.pad(where, (0, missing)), functional.pad(targets, (0, missing), value=data.IGNORED)


def train(config: Config) -> None:
    """One run, from nothing, from `base` or from its last checkpoint, until its time is over or it is told to stop."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    run = Path(config.run)
    run.mkdir(parents=True, exist_ok=True)
    if not (run / "tokenizer" / "tokenizer.json").exists():
        if config.base:  # as files: beside a config.json transformers reads another class than the one that was trained
            (run / "tokenizer").mkdir()
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(Path(config.base) / name, run / "tokenizer" / name)
        else:
            tokenizer.build().save_pretrained(run / "tokenizer")
    words = AutoTokenizer.from_pretrained(run / "tokenizer")

    # Master weights in float32, whatever the step computes in.
    master = Qwen2ForCausalLM(model_config(config, len(words), words.eos_token_id, words.pad_token_id))
    if config.base:
        master.load_state_dict(Qwen2ForCausalLM.from_pretrained(config.base, dtype=torch.float32).state_dict())
    else:
        init.find_and_copy(master, words)
    print(json.dumps(asdict(config)), f"parameters {sum(p.numel() for p in master.parameters()):,}", flush=True)
    optimizers = make_optimizers(master, config)
    rates = runs.full_rates(optimizers)

    step, tokens, spent = 0, 0, 0.0
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        master.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, tokens, spent = saved["step"], saved["tokens"], saved["spent"]
        print(f"resumed at step {step}, {tokens:,} tokens, {spent / 60:.1f} min", flush=True)
    fast = Qwen2ForCausalLM(master.config).to(runs.step_dtype())
    fast.load_state_dict(master.state_dict())
    compute = torch.compile(loss_of) if config.compile else loss_of

    rng = random.Random(f"{config.seed}-{step}")
    clock = runs.Clock(config.minutes, spent)
    last_save = last_score = seen_at = time.time()
    seen_loss, seen_tokens = 0.0, 0
    for progress in clock.steps():
        wildness = 0.6 if progress < 0.3 else 0.4
        stream = data.documents(words, rng, config.width, wildness)
        rows = data.batch(stream, config.rows, config.width)
        where, targets = learned_places(rows, config.learned_per_step)

        loss = compute(fast, rows, where, targets)
        loss.backward()
        runs.take_gradients(master, fast)
        _spare_absent_tokens(master, rows)
        share = runs.rate_at(step, progress, warmup_steps=config.warmup_steps, decay_share=config.decay_share)
        runs.take_step(master, fast, optimizers, rates, share)

        step += 1
        tokens += rows.ids.numel()
        seen_loss += loss.item()
        seen_tokens += rows.ids.numel()
        if step % config.report_every == 0:
            print(
                f"{time.strftime('%H:%M:%S')} step {step} tokens {tokens / 1e6:.2f}M progress {progress:.3f} "
                f"loss {seen_loss / config.report_every:.4f} tok/s {seen_tokens / (time.time() - seen_at):.0f} "
                f"rate {share:.2f}",
                flush=True,
            )
            seen_loss, seen_tokens, seen_at = 0.0, 0, time.time()
        if time.time() - last_save > config.save_minutes * 60:
            save(checkpoint, master, optimizers, step, tokens, clock.spent)
            last_save = time.time()
        if time.time() - last_score > config.score_minutes * 60:
            report(fast, words, run, tokens)
            last_score = seen_at = time.time()
    save(checkpoint, master, optimizers, step, tokens, clock.spent)
    if not clock.is_stopped:
        report(fast, words, run, tokens, examples=60)


def _spare_absent_tokens(model: Qwen2ForCausalLM, rows: data.Rows) -> None:
    """Leave the embedding's rows of tokens that the batch does not hold where they are.

    The softmax pushes all others down a little in each step, and AdamW makes full steps of that little: what occurs
    once in 100,000 tokens ends up alike, and a rare character is then copied as another.
    """
    grad = model.model.embed_tokens.weight.grad
    if grad is not None:
        is_absent = torch.ones(len(grad), dtype=torch.bool)
        is_absent[rows.ids.reshape(-1)] = False
        grad[is_absent] = 0


def save(
    path: Path,
    model: Qwen2ForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    tokens: int,
    spent: float,
) -> None:
    """The whole state of the run."""
    states = [optimizer.state_dict() for optimizer in optimizers]
    body = {"model": model.state_dict(), "optimizers": states, "step": step, "tokens": tokens, "spent": spent}
    runs.save_whole(path, body)


def report(model: Qwen2ForCausalLM, words: object, run: Path, tokens: int, examples: int = 12) -> None:
    """Held-out score of the weights as they are, in both languages."""
    model.eval()
    for language in ("en", "zh"):
        scores = score.score(score.transformers_writer(model, words), language, examples)
        line = {"at": time.strftime("%H:%M:%S"), "tokens": tokens, "language": language, **scores}
        print("score", json.dumps(line), flush=True)
        with (run / "scores.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
    model.train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", default=Config.run)
    parser.add_argument("--base", default=Config.base, help="a folder of weights to begin with")
    parser.add_argument("--minutes", type=float, default=Config.minutes)
    parser.add_argument("--threads", type=int, default=Config.threads)
    parser.add_argument("--seed", type=int, default=Config.seed)
    parser.add_argument("--decay-share", type=float, default=Config.decay_share)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    train(Config(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
