"""Settings: told when they are wrong, documented when they exist, and no replica numbers outside serve_config.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from sagaforge.deployments.diffusion.client import ImageClient
from sagaforge.deployments.diffusion.comfyui.backend import ComfyUI
from sagaforge.deployments.diffusion.fallback import OrderedBackends
from sagaforge.errors import InvalidInput
from sagaforge.profiles import PROFILES, get_profile
from sagaforge.services import image_backend
from sagaforge.settings import ENV_PREFIX, Settings, describe_settings, load_settings
from tests.support.paths import ROOT
from tests.unit.deployments.test_handles import Handle

PAGE = ROOT / "docs" / "configuration.md"
KEY = "0123456789abcdef-secret"

# --- the docs -------------------------------------------------------------------------------------------------------


def documented() -> dict[str, list[str]]:
    """The rows of the page's table of settings, by variable."""
    rows = [re.split(r"\s*\|\s*", line.strip().strip("|").strip()) for line in PAGE.read_text().splitlines()]
    return {row[0].strip("`"): row for row in rows if row[0].startswith(f"`{ENV_PREFIX}") and len(row) == 3}


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    assert set(documented()) == {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_the_docs_tell_default_and_meaning(name: str) -> None:
    field = Settings.model_fields[name]
    _, default, meaning = documented()[f"{ENV_PREFIX}{name.upper()}"]
    assert default.strip("`") == ("none" if field.default in (None, ()) else str(field.default))
    assert meaning == field.description


def test_every_profile_is_documented() -> None:
    text = PAGE.read_text()
    for profile in PROFILES.values():
        assert f"`{profile.name}`" in text
        assert profile.llm.model_id in text or profile.llm.source in text


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "70000"),
        ("PROFILE", "huge"),
        ("API_KEY", "short"),
        ("LOG_LEVEL", "LOUD"),
        ("LOAD_SAMPLES", "perhaps"),
        ("TURN_DEADLINE_S", "0"),
        ("UPLOAD_MAX_BYTES", "100 MB"),
        ("CORS_ORIGINS", '["*"]'),
        ("IMAGE_BACKENDS", '["midjourney"]'),
        ("IMAGE_BACKENDS", '["comfyui"]'),
        ("IMAGE_BACKENDS", "engine"),
    ],
)
def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(ENV_PREFIX + variable, value)
    with pytest.raises(InvalidInput, match=ENV_PREFIX + variable):
        load_settings()


def test_all_bad_values_are_told_at_once_and_no_secret_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAFORGE_PORT", "http")
    monkeypatch.setenv("SAGAFORGE_API_KEY", "hunter2")
    with pytest.raises(InvalidInput) as failure:
        load_settings()
    assert "SAGAFORGE_PORT" in failure.value.detail
    assert "SAGAFORGE_API_KEY" in failure.value.detail
    assert "hunter2" not in failure.value.detail


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https://*.example",
        "studio.example",
        "https://studio.example/",
        "https://studio.example/app",
        "https://studio.example?q=1",
        "https://studio.example#top",
        "https://me@studio.example",
        "https://studio.example:port",
        "https://studio.example:8000:1",
        "https://",
        "",
    ],
)
def test_origins_are_exact(origin: str) -> None:
    with pytest.raises(InvalidInput, match="SAGAFORGE_CORS_ORIGINS"):
        load_settings(cors_origins=(origin,))


@pytest.mark.parametrize("value", ["https://studio.example", "[", ""])
def test_origins_that_are_no_json_are_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SAGAFORGE_CORS_ORIGINS", value)
    with pytest.raises(InvalidInput, match="SAGAFORGE_CORS_ORIGINS"):
        load_settings()


@pytest.mark.parametrize(
    ("environment", "order"),
    [
        ({}, ("engine",)),
        ({"COMFYUI_API_URL": "http://127.0.0.1:8188"}, ("comfyui", "engine")),
        ({"SAGAFORGE_COMFYUI_API_URL": "http://127.0.0.1:8188"}, ("comfyui", "engine")),
        ({"COMFYUI_API_URL": "http://a", "SAGAFORGE_IMAGE_BACKENDS": '["engine", "comfyui"]'}, ("engine", "comfyui")),
        ({"COMFYUI_API_URL": "http://a", "SAGAFORGE_IMAGE_BACKENDS": '["comfyui"]'}, ("comfyui",)),
    ],
)
def test_what_paints_follows_the_settings(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], order: tuple[str, ...]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.image_order == order
    made = image_backend(settings, Handle())  # type: ignore[arg-type]
    assert isinstance(
        made, {"engine": ImageClient, "comfyui": ComfyUI}[order[0]] if len(order) == 1 else OrderedBackends
    )


def test_good_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAFORGE_CORS_ORIGINS", '["https://studio.example", "http://localhost:3000"]')
    monkeypatch.setenv("SAGAFORGE_PORT", "9000")
    settings = load_settings()
    assert settings.cors_origins == ("https://studio.example", "http://localhost:3000")
    assert settings.port == 9000
    assert load_settings(port=9001).port == 9001


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("stories", "{cwd}/stories"),
        ("./stories/", "{cwd}/stories"),
        ("~/stories", "{home}/stories"),
        ("/srv/stories", "/srv/stories"),
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
    ],
)
def test_storage_is_made_absolute(given: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    expected = expected.format(cwd=tmp_path.resolve(), home=(tmp_path / "home").resolve())
    assert load_settings(storage=given).storage == expected


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "studio.example"])
def test_listening_to_others_needs_a_key(host: str) -> None:
    with pytest.raises(InvalidInput, match="SAGAFORGE_API_KEY"):
        load_settings(host=host).check_exposure()
    load_settings(host=host, api_key=KEY).check_exposure()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_key(host: str) -> None:
    load_settings(host=host).check_exposure()


def test_described_settings_mask_secrets() -> None:
    described = describe_settings(load_settings(api_key=KEY, s3_secret_access_key=KEY))
    assert [info.name for info in described] == list(Settings.model_fields)
    assert KEY not in repr(described)
    assert all(info.help for info in described)


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="pocket, cpu, gpu, low_vram"):
        get_profile("huge")


# --- serve_config.yaml ----------------------------------------------------------------------------------------------


CONFIG_FILES = ("serve_config.yaml", "cluster/serve_config.gpu.yaml")


@pytest.mark.parametrize("file", CONFIG_FILES)
def test_the_config_file_names_exactly_the_deployments_of_the_code(file: str) -> None:
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / file).read_text())).applications
    load_settings(**application.args)
    assert application.import_path == "sagaforge.app:build"
    text = "\n".join(path.read_text() for path in (ROOT / "deployments").rglob("*.py"))
    named = set(re.findall(r'serve\.deployment\(name="(\w+)"', text))
    named |= set(re.findall(r'override_serve_options=\{"name": "(\w+)"', text))
    assert (
        {deployment.name for deployment in application.deployments}
        == named
        == {"diffusion", "ingress", "llm", "retrieval"}
    )


@pytest.mark.parametrize("file", CONFIG_FILES)
@pytest.mark.parametrize("name", ["diffusion", "ingress", "llm", "retrieval"])
def test_every_deployment_is_bounded(file: str, name: str) -> None:
    """Ray's defaults for ray.serve.llm never push back and never scale (FACTS: 1e9), so the file sets them all."""
    raw = yaml.safe_load((ROOT / file).read_text())["applications"][0]["deployments"]
    options: dict[str, Any] = next(deployment for deployment in raw if deployment["name"] == name)
    assert options["max_queued_requests"] > 0
    scaling = options["autoscaling_config"]
    assert scaling["min_replicas"] >= (0 if name == "diffusion" else 1), "only pictures may wait for a start"
    assert scaling["target_ongoing_requests"] < options["max_ongoing_requests"] < 1000


def test_code_holds_no_replica_numbers() -> None:
    options = re.compile(
        r"\b(min_replicas|max_replicas|num_replicas|autoscaling_config|max_ongoing_requests|max_queued_requests"
        r"|target_ongoing_requests)\b"
    )
    folders = ("deployments", "functions", "datasets", "training", "src/sagaforge")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if options.search(path.read_text())] == []
