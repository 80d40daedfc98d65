"""Export a run to a folder that diffusers, and so the bundle, loads: float16, the averaged weights.

PYTHONPATH=src python -m sagaforge.training.pocket.sdxl.export /tmp/pocket_sdxl_run models/pocket-sdxl
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch

from sagaforge.training.pocket.sdxl import judge
from sagaforge.training.pocket.sdxl.train import latent_scale


def export(run: Path, target: Path) -> None:
    """Write all parts beside the target, then replace its files one by one; its card stays."""
    pipeline = judge.load_run(run)
    pipeline.unet.load_state_dict(torch.load(run / "checkpoint.pt", weights_only=True)["average"])
    latents = torch.load(run / "latents.pt", weights_only=True)["latents"]
    pipeline.vae.register_to_config(scaling_factor=latent_scale(latents))
    pipeline.to(torch.float16)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pipeline.save_pretrained(folder, safe_serialization=True)
        for path in sorted(Path(folder).iterdir()):
            if path.is_dir():
                shutil.rmtree(target / path.name, ignore_errors=True)
            path.replace(target / path.name)
    print(f"{sum(file.stat().st_size for file in target.rglob('*') if file.is_file()) / 1e6:.1f} MB in {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    export(arguments.run, arguments.target)


if __name__ == "__main__":
    main()
