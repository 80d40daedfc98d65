"""Export a run's weights to the folder that vLLM serves.

    PYTHONPATH=src python -m sagaforge.training.pocket.llm.export /tmp/pocket_llm_run models/pocket-llm

Files are written beside the old ones and then replace them, so that a server that starts meanwhile finds whole ones.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig, Qwen2ForCausalLM

from sagaforge.training.pocket.llm import tokenizer, train


def export(run: Path, target: Path) -> None:
    """Weights in bfloat16, config, tokenizer and chat template."""
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    words = AutoTokenizer.from_pretrained(run / "tokenizer")
    config = train.model_config(train.Config(), len(words), words.eos_token_id, words.pad_token_id)
    model = Qwen2ForCausalLM(config)
    model.load_state_dict(saved["model"])
    model = model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        # So small a model loses its place when it samples from the tail.
        do_sample=True,
        top_p=0.2,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.pad_token_id,
    )
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        embed_chat_template(Path(folder))
        for path in sorted(Path(folder).iterdir()):
            path.chmod(0o644)
            os.replace(path, target / path.name)


def embed_chat_template(folder: Path) -> None:
    """Keep the chat template in tokenizer_config.json alone: one place, which every reader knows."""
    path = folder / "tokenizer_config.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    body["chat_template"] = tokenizer.CHAT_TEMPLATE
    # The name that readers of older releases know as well.
    body["tokenizer_class"] = "PreTrainedTokenizerFast"
    for chance in ("backend", "is_local", "local_files_only"):
        body.pop(chance, None)
    path.write_text(json.dumps(body, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    export(options.run, options.target)


if __name__ == "__main__":
    main()
