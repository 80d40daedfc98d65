"""The sample worlds: loaded on first start, through the same ingestion as anybody's upload."""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path

from sagaforge.datasets.worlds.world_store import WorldStore
from sagaforge.deployments.ingestion.interface import Ingestion
from sagaforge.errors import Conflict

logger = logging.getLogger(__name__)

SAMPLES_DIR = Path(__file__).resolve().parent.parent / "datasets" / "samples"
LICENSE = "Apache-2.0"


async def load_samples(*, worlds: WorldStore, ingestion: Ingestion) -> None:
    """Upload each sample world that was never there. One that was is left alone: it may be edited, or deleted."""
    for folder in sorted(path for path in SAMPLES_DIR.iterdir() if path.is_dir()):
        if await worlds.pointer(folder.name) is not None:
            continue
        try:
            await ingestion.run(
                f"{folder.name}.zip", _zipped(folder), world_id=folder.name, license=LICENSE, overwrite=False
            )
            logger.info("loaded the sample world %s", folder.name)
        except Conflict:
            logger.info("another replica loaded the sample world %s", folder.name)


def _zipped(folder: Path) -> io.BytesIO:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as pack:
        for path in sorted(folder.iterdir()):
            pack.write(path, path.name)
    archive.seek(0)
    return archive
