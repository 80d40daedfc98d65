"""The rules of the layout (docs/functions.md and DESIGN explain them): what may be imported, from where, and what a
wheel holds. FACTS behind them: a bare `import datasets` that finds our folder breaks transformers and lancedb."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sagaforge.http.pages import FILES
from tests.support.paths import ROOT

PACKAGE = ROOT / "src" / "sagaforge"
CODE_FOLDERS = ("deployments", "functions", "training", "datasets", "evaluation")
LINKS = (*CODE_FOLDERS, "models")
DATA_SUFFIXES = (".safetensors", ".json", ".jinja", ".md", ".yaml", ".toml")
# Written with a class in each, so that this file does not hold what it looks for.
UNFIT = re.compile(
    r"pyp[i]\.org|pythonh[o]sted|npm[j]s\.|deb\.deb[i]an|/opt/wh[e]els|/wor[k]/(main|shared|steering|\.library|\.mirror)"
)


def repository_files() -> list[str]:
    """Every file that is, or would be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("no git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def python(code: str, cwd: Path, **environment: str) -> str:
    env = {**os.environ, **environment}
    run = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def modules() -> list[str]:
    """Dotted names of every module of the package, the linked ones too."""
    names = []
    for folder, _, files in os.walk(PACKAGE, followlinks=True):
        for file in files:
            if file.endswith(".py"):
                path = (Path(folder) / file).relative_to(PACKAGE.parent).with_suffix("")
                names.append(".".join(path.parts).removesuffix(".__init__"))
    return sorted(names)


@pytest.mark.parametrize("folder", CODE_FOLDERS)
def test_the_code_folders_are_no_packages_of_their_own(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("name", LINKS)
def test_links_are_relative_and_lead_to_the_top_level(name: str) -> None:
    link = PACKAGE / name
    assert link.is_symlink(), "on Windows: git config core.symlinks true, then check out again"
    assert os.readlink(link) == f"../../{name}"
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_datasets_is_the_one_of_hugging_face(where: str, tmp_path: Path) -> None:
    find = "import importlib.util; print(importlib.util.find_spec('datasets').origin)"
    origin = python(find, ROOT if where == "root" else tmp_path)
    assert "site-packages" in Path(origin).parts


def test_our_folder_of_that_name_is_found_under_the_package() -> None:
    from sagaforge.datasets.store import tables

    assert Path(tables.__file__).resolve() == ROOT / "datasets" / "store" / "tables.py"


@pytest.mark.parametrize("name", ["functions", "training", "deployments"])
@pytest.mark.parametrize("form", ["import {}.story\n", "from {} import story\n"])
def test_bare_imports_are_banned(name: str, form: str) -> None:
    # Through stdin under a name in the tree, so that the repository's own configuration applies.
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", "functions/x.py", "-"]
    run = subprocess.run(command, cwd=ROOT, input=form.format(name), capture_output=True, text=True)
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"sagaforge.{name}" in run.stdout


IMPORT_ALL = """
import importlib, json, os, sys, threading
import ray.serve  # sets a variable of its own
before, connections = dict(os.environ), []
sys.addaudithook(lambda event, args: connections.append(event) if event == "socket.connect" else None)
for name in json.loads(sys.stdin.read()):
    importlib.import_module(name)
print(json.dumps({
    "is_initialized": ray.is_initialized(),
    "threads": [t.name for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon],
    "environment": sorted(k for k in {**before, **os.environ} if before.get(k) != os.environ.get(k)),
    "connections": connections,
    "heavy": [name for name in ("vllm", "diffusers", "torch") if name in sys.modules],
    "handlers": len(__import__("logging").getLogger("sagaforge").handlers),
}))
"""
# Seconds each, and some of them change the environment themselves. What imports them may do both.
HEAVY_LIBRARIES = {"torch", "vllm", "diffusers", "transformers", "peft", "cv2", "ray.serve.llm", "ray.llm"}


def heavy_modules() -> set[str]:
    """Modules that import a heavy library as they are imported, by themselves or by another module of ours."""
    imported = {name: top_imports(name) for name in modules()}
    heavy = {name for name, found in imported.items() if any(_is_under(one, HEAVY_LIBRARIES) for one in found)}
    while more := {name for name, found in imported.items() if found & heavy} - heavy:
        heavy |= more
    return heavy


def top_imports(module: str) -> set[str]:
    """What a module imports at its top, each name as a module and as something in one."""
    path = PACKAGE.parent / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _is_under(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_importing_does_nothing(tmp_path: Path) -> None:
    """No Ray, no connection, no thread that outlives it, no change of the environment, no logging set up."""
    heavy = heavy_modules()
    light = [name for name in modules() if name not in heavy]
    # Whoever only binds, calls or checks must not wait for a model's libraries.
    assert not [name for name in heavy if name.split(".")[1] not in ("deployments", "training", "imaging")]
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], input=json.dumps(light), cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
    assert seen == {
        "is_initialized": False, "threads": [], "environment": [], "connections": [], "heavy": [], "handlers": 0,
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_the_wheel_holds_every_module_the_sample_worlds_and_the_models(tmp_path: Path) -> None:
    # In a copy: setuptools leaves a build/ folder behind, whose old files would go into the next wheel.
    source = tmp_path / "source"
    for name in [*LINKS, "src", "pyproject.toml", "README.md", "LICENSE"]:
        path = ROOT / name
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
            shutil.copytree(path, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(path, source / name)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "out"),
        str(source),
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        assert archive.getinfo("sagaforge/models/pocket-llm/model.safetensors").file_size > 1_000_000
    expected = {f"{name.replace('.', '/')}.py" for name in modules()}
    expected = {name.replace(".py", "/__init__.py") if _is_package(name) else name for name in expected}
    expected |= {f"sagaforge/http/pages/{name}" for name in FILES.values()}
    for folder in ("datasets/samples", "models"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in DATA_SUFFIXES:
                expected.add(f"sagaforge/{path.relative_to(ROOT).as_posix()}")
    assert expected - held == set()
    strangers = {name for name in held if not name.startswith(("sagaforge/", "sagaforge-"))}
    assert strangers == set(), "a generic name in a wheel collides with other packages"


def _is_package(module_file: str) -> bool:
    return (PACKAGE.parent / module_file.removesuffix(".py") / "__init__.py").exists()


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = []
    for name in repository_files():
        path = ROOT / name
        if path.is_symlink() or path.suffix in (".safetensors", ".png") or path.is_dir():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if UNFIT.search(line):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert found == []


def test_the_readme_has_a_line_for_everything_at_the_top_level() -> None:
    tree = re.search(r"```text\n(sagaforge/.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert tree, "README.md holds the tree in a ```text block that begins with sagaforge/"
    told = {line.split()[0].rstrip("/") for line in tree[1].splitlines()[1:] if re.match(r"^  \S", line)}
    there = {name.split("/")[0] for name in repository_files()}
    assert there - told == set(), "missing in the README's tree"
    planned = {"cluster"}  # holds no file yet
    assert told - there - planned == set(), "in the README's tree, but not there"
