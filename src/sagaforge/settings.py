"""Settings: one frozen object, read once from the environment (and a `.env` file) by whoever starts a process.

Replica numbers are not settings; they live in `serve_config.yaml`. `docs/configuration.md` lists every field, which a
test holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from sagaforge.errors import InvalidInput
from sagaforge.profiles import ProfileName

ENV_PREFIX = "SAGAFORGE_"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
MIB = 1024**2
ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://([A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")


class Settings(BaseSettings):
    """Each field is read from `SAGAFORGE_<FIELD>`. Sizes are in bytes and times in seconds where the name says so."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_file=".env", frozen=True, extra="ignore")

    profile: ProfileName = Field("pocket", description="Which models run: pocket, cpu, gpu or low_vram.")
    host: str = Field("127.0.0.1", description="Address to listen on. Beyond loopback an `api_key` is required.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    api_key: SecretStr | None = Field(None, description="The key that every request must carry. None: loopback only.")
    cors_origins: tuple[str, ...] = Field(
        (), description='Origins allowed to call from a browser, exact, as JSON: ["https://studio.example"].'
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description='Host names to answer under besides loopback\'s, as JSON: ["studio.example", "*.lan"].',
    )

    storage: str = Field(".storage", description="Where everything durable lives: a folder or s3://bucket/prefix.")
    s3_endpoint: str | None = Field(None, description="S3 API to use instead of AWS, for example a MinIO address.")
    s3_region: str = Field("us-east-1", description="Region of the bucket.")
    s3_access_key_id: str | None = Field(None, description="S3 key id; None takes the ambient AWS credentials.")
    s3_secret_access_key: SecretStr | None = Field(None, description="S3 secret that belongs to the key id.")

    upload_max_bytes: int = Field(100 * MIB, ge=1024, description="Largest upload accepted, in bytes.")
    body_max_bytes: int = Field(1 * MIB, ge=1024, description="Largest JSON body accepted, in bytes.")
    turn_deadline_s: float = Field(300.0, gt=0, description="Longest a turn may take, its stream included.")
    image_deadline_s: float = Field(
        300.0, gt=0, description="Longest the pictures of one request may take, the model's start included."
    )
    comfyui_api_url: str | None = Field(
        None,
        validation_alias=AliasChoices("comfyui_api_url", "SAGAFORGE_COMFYUI_API_URL", "COMFYUI_API_URL"),
        description="A ComfyUI server that paints, for example http://127.0.0.1:8188.",
    )
    comfyui_checkpoint: str = Field("sd_xl_base_1.0.safetensors", description="The model's file name on that server.")
    image_backends: tuple[Literal["engine", "comfyui"], ...] = Field(
        (),
        description="What paints, best first, as JSON. None: the ComfyUI server if there is one, and the engine.",
    )
    upload_deadline_s: float = Field(300.0, gt=0, description="Longest an upload may take to be chunked and indexed.")
    upload_memory_bytes: int = Field(
        2048 * MIB, ge=256 * MIB, description="Memory that ingesting one upload may use, in bytes."
    )
    load_samples: bool = Field(True, description="Load the two sample worlds on first start.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Level of the bundle's logs.")

    @field_validator("storage")
    @classmethod
    def _absolute_folder(cls, value: str) -> str:
        # Replicas run in working folders of their own, so a relative root must be fixed where it is read.
        return value.rstrip("/") if "://" in value else str(Path(value).expanduser().resolve())

    @field_validator("cors_origins")
    @classmethod
    def _exact_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no exact origin; write scheme://host[:port], and nothing after it")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _plain_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no host name; write it without scheme and port, or as *.name")
            if name.startswith("["):
                IPv6Address(name.strip("[]"))
        return tuple(name.lower() for name in value)

    @field_validator("image_backends")
    @classmethod
    def _comfyui_has_an_address(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "comfyui" in value and not info.data.get("comfyui_api_url"):
            raise ValueError("names comfyui: set SAGAFORGE_COMFYUI_API_URL too")
        return value

    @field_validator("api_key")
    @classmethod
    def _long_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("must have at least 16 characters; `openssl rand -hex 24` makes one")
        return value

    @property
    def image_order(self) -> tuple[str, ...]:
        """What paints, best first."""
        return self.image_backends or (("comfyui", "engine") if self.comfyui_api_url else ("engine",))

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_HOSTS

    def check_exposure(self) -> None:
        """Raise `InvalidInput` when the bundle would be open to others without a key."""
        if not self.is_loopback and self.api_key is None:
            raise InvalidInput(
                f"Refusing to listen on {self.host} without a key: anybody on the network could use the bundle. "
                "Set SAGAFORGE_API_KEY (`openssl rand -hex 24` makes one), or listen on 127.0.0.1."
            )


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; `InvalidInput` names each variable that is wrong and what it must be."""
    try:
        return Settings(**overrides)
    except ValidationError as exc:
        problems = "; ".join(
            f"{ENV_PREFIX}{'_'.join(str(part) for part in error['loc']).upper()}: {error['msg']}"
            for error in exc.errors()
        )
        raise InvalidInput(f"Wrong settings: {problems}") from exc
    except SettingsError as exc:
        # pydantic-settings names the field only in its message, and never shows the value.
        found = re.search(r'field "(\w+)"', str(exc))
        variable = f"{ENV_PREFIX}{found[1].upper()}" if found else f"one of the {ENV_PREFIX}… variables"
        raise InvalidInput(f'Wrong settings: {variable}: must be JSON, such as ["one", "another"]') from exc


@dataclass(frozen=True)
class SettingInfo:
    """One setting as `holodeck debug config` and the docs show it. Secrets are masked in `value`."""

    name: str
    env: str
    type: str
    default: str
    help: str
    value: str
    source: Literal["default", "environment"]


def describe_settings(settings: Settings) -> list[SettingInfo]:
    """Every setting in the order of its definition."""
    return [
        SettingInfo(
            name=name,
            env=f"{ENV_PREFIX}{name.upper()}",
            type=getattr(field.annotation, "__name__", str(field.annotation)).replace("typing.", ""),
            default=str(field.default),
            help=field.description or "",
            value=str(getattr(settings, name)),
            source="environment" if name in settings.model_fields_set else "default",
        )
        for name, field in Settings.model_fields.items()
    ]
