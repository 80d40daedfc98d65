"""Every command of the docs that needs a bundle, run as it stands: page after page, each in an empty folder.

What is not run is what starts, builds or configures a bundle; test_docs.py holds that it is nothing else. Against a bundle of
TEST_BUNDLE the pages succeed once: they upload worlds, and a second round finds them there with other content.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.doc_commands import PAGES, Block, blocks

BLOCK_TIMEOUT_S = 240
TO_RUN = [block for block in blocks() if block.needs_bundle or block.is_interactive]
PAGES_TO_RUN = [page for page in PAGES if any(block.page == page for block in TO_RUN)]


@pytest.mark.timeout(4 * BLOCK_TIMEOUT_S)
@pytest.mark.parametrize("page", PAGES_TO_RUN)
def test_the_commands_of_a_page_succeed(page: str, bundle: Bundle, tmp_path: Path) -> None:
    folder, home = tmp_path / "page", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    # By itself curl succeeds when the bundle answers with an error.
    (home / ".curlrc").write_text("fail-with-body\nshow-error\n")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "CURL_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "SAGAFORGE_URL": bundle.url,
    }
    for block in TO_RUN:
        if block.page == page:
            _run(block, bundle, folder, environment)


def _run(block: Block, bundle: Bundle, folder: Path, environment: dict[str, str]) -> None:
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.script(base_url=bundle.url)],
        cwd=folder,
        env=environment,
        input="/quit\n" if block.is_interactive else "",
        capture_output=True,
        text=True,
        timeout=BLOCK_TIMEOUT_S,
    )
    assert run.returncode == 0, f"{block}\n{block.text}\n--- stdout\n{run.stdout}\n--- stderr\n{run.stderr}"
