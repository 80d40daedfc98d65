"""Where everything durable lives: one root, a local folder or an `s3://bucket/prefix`.

    <root>/tables/      LanceDB
    <root>/artefacts/   images, meshes, adapters, world packs
    <root>/writers/     one small object per start of a table writer (see `sagaforge.datasets.store.epochs`)

A `Storage` is a value: strings and numbers only, so that it can be bound into a Serve deployment or sent to an actor;
clients are built where they are used. What LanceDB, boto3 and the file system raise becomes `StorageUnavailable` here
and nowhere else (`storage_errors`). Methods that aren't `async` block.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sagaforge.errors import InvalidInput, NotFound, StorageUnavailable

if TYPE_CHECKING:
    import lancedb

CONNECT_TIMEOUT_S = 3
REQUEST_TIMEOUT_S = 20
# Lance's own defaults go on retrying for minutes; a turn would rather hear about it and be tried again.
RETRY_TIMEOUT_S = 8
MAX_RETRIES = 3
HASHED_BYTES = 1024**2
# File systems tell times in steps: a file may be written twice in one of them.
SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Storage:
    """The root and how to reach it. Keys left out: boto3's and Lance's usual ambient credentials are used."""

    root: str
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_access_key_id: str | None = field(default=None, repr=False)
    s3_secret_access_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.is_s3:
            if not self._bucket_and_prefix[0]:
                raise InvalidInput(f"SAGAFORGE_STORAGE={self.root!r} names no bucket: use s3://bucket/prefix")
            object.__setattr__(self, "root", self.root.rstrip("/"))
        else:
            # Made absolute here: another process may have another working directory.
            object.__setattr__(self, "root", str(Path(self.root).expanduser().absolute()))

    @property
    def is_s3(self) -> bool:
        return self.root.startswith("s3://")

    @property
    def tables_uri(self) -> str:
        return f"{self.root}/tables"

    @property
    def artefacts_uri(self) -> str:
        return f"{self.root}/artefacts"

    async def connect(self, *, read_consistency_interval: timedelta | None = None) -> lancedb.AsyncConnection:
        """A new connection to the tables. `read_consistency_interval`: how stale its readers may be; None, they stay
        at the version they opened; zero, every read looks for a newer one (0.25 ms locally, 8 ms on S3)."""
        import lancedb

        with storage_errors(f"opening the tables under {self.tables_uri}"):
            return await lancedb.connect_async(
                self.tables_uri,
                read_consistency_interval=read_consistency_interval,
                storage_options=self._lance_options() if self.is_s3 else None,
            )

    def check_writable(self) -> None:
        """Writes, reads and deletes a probe object; raises StorageUnavailable saying what to do. Call it at start."""
        key, probe = f"writers/probe-{uuid.uuid4().hex}", b"sagaforge"
        try:
            self.put_object(key, probe)
            if self.get_object(key) != probe:
                raise StorageUnavailable("what was written is not what was read back")
            self.delete_object(key)
        except (StorageUnavailable, NotFound) as exc:
            what = "bucket" if self.is_s3 else "folder"
            hint = (
                "Check that the bucket exists, that SAGAFORGE_S3_ENDPOINT reaches it and that the credentials may "
                "put, get, list and delete there"
                if self.is_s3
                else "Make it a folder that this user may write to"
            )
            reason = str(exc.__cause__ or exc.detail)
            raise StorageUnavailable(
                f"the {what} {self.root} can't be written: {reason}. {hint}, or set SAGAFORGE_STORAGE to another place."
            ) from exc

    # --- artefacts ---------------------------------------------------------------------------------------------------

    async def put_artefact(self, name: str, data: bytes) -> str:
        """Stores `data` under `name` (`images/ab/cd.png`), whole or not at all; returns its URI."""
        await asyncio.to_thread(self.put_object, artefact_key(name), data)
        return f"{self.root}/{artefact_key(name)}"

    async def get_artefact(self, name: str) -> bytes:
        """The bytes stored under `name`. Raises NotFound."""
        return await asyncio.to_thread(self.get_object, artefact_key(name))

    # --- objects: a key is a path below the root ---------------------------------------------------------------------

    def put_object(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Writes an object atomically. With `if_absent`, false and nothing changed if it exists: of many, one wins."""
        with storage_errors(f"writing {self.root}/{key}"):
            return self._put_s3(key, data, if_absent) if self.is_s3 else self._put_local(key, data, if_absent)

    def get_object(self, key: str) -> bytes:
        with storage_errors(f"reading {self.root}/{key}"), self._opened(key) as body:
            return body.read()

    def sha256_object(self, key: str) -> str:
        """The hash of an object's content, read in pieces. Raises NotFound."""
        whole = hashlib.sha256()
        with storage_errors(f"reading {self.root}/{key}"), self._opened(key) as body:
            while piece := body.read(HASHED_BYTES):
                whole.update(piece)
        return whole.hexdigest()

    def delete_object(self, key: str) -> None:
        """Deletes an object; one that isn't there is no error."""
        with storage_errors(f"deleting {self.root}/{key}"):
            if self.is_s3:
                bucket, full = self._locate(key)
                self._s3().delete_object(Bucket=bucket, Key=full)
            else:
                (Path(self.root) / key).unlink(missing_ok=True)

    def list_objects(self, folder: str, *, after: str = "") -> list[str]:
        """Names directly in `folder` that sort after `after`, sorted."""
        with storage_errors(f"listing {self.root}/{folder}"):
            if not self.is_s3:
                try:
                    names = os.listdir(Path(self.root) / folder)
                except FileNotFoundError:
                    return []
                return sorted(name for name in names if name > after and not name.startswith(".tmp-"))
            bucket, prefix = self._locate(folder.rstrip("/") + "/")
            pages = (
                self._s3()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=bucket, Prefix=prefix, Delimiter="/", StartAfter=prefix + after)
            )
            return [item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", [])]

    def list_marks(self, folder: str) -> dict[str, str | None]:
        """Files directly in `folder`, sorted, each with a mark: the same mark, the same content. None: it has just been
        written, and a mark would say nothing."""
        with storage_errors(f"listing {self.root}/{folder}"):
            if not self.is_s3:
                try:
                    with os.scandir(Path(self.root) / folder) as entries:
                        files = [one for one in entries if one.is_file() and not one.name.startswith(".")]
                        return {one.name: file_mark(one.stat()) for one in sorted(files, key=lambda one: one.name)}
                except FileNotFoundError:
                    return {}
            bucket, prefix = self._locate(folder.rstrip("/") + "/")
            pages = self._s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            return {
                item["Key"].removeprefix(prefix): f"{item['ETag']} {item['Size']} {item['LastModified']}"
                for page in pages
                for item in page.get("Contents", [])
                if item["Key"] != prefix
            }

    def _opened(self, key: str) -> Any:
        """A context that has an object's content to read from. Raises NotFound."""
        if not self.is_s3:
            try:
                return (Path(self.root) / key).open("rb")
            except FileNotFoundError:
                raise NotFound(f"there is no {key}") from None
        bucket, full = self._locate(key)
        client = self._s3()
        try:
            return closing(client.get_object(Bucket=bucket, Key=full)["Body"])
        except client.exceptions.NoSuchKey:
            raise NotFound(f"there is no {key}") from None

    def _put_local(self, key: str, data: bytes, if_absent: bool) -> bool:
        path = Path(self.root) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not if_absent:
                os.replace(temporary, path)
                return True
            try:
                os.link(temporary, path)  # unlike a rename, a link never replaces what is there
            except FileExistsError:
                return False
            return True
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _put_s3(self, key: str, data: bytes, if_absent: bool) -> bool:
        from botocore.exceptions import ClientError

        bucket, full = self._locate(key)
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            self._s3().put_object(Bucket=bucket, Key=full, Body=data, **condition)
        except ClientError as exc:
            # 409: another conditional put of this key is under way, and one of the two will win.
            if if_absent and exc.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise
        return True

    # --- S3 ----------------------------------------------------------------------------------------------------------

    @property
    def _bucket_and_prefix(self) -> tuple[str, str]:
        bucket, _, prefix = self.root.removeprefix("s3://").partition("/")
        return bucket, prefix

    def _locate(self, key: str) -> tuple[str, str]:
        bucket, prefix = self._bucket_and_prefix
        return bucket, f"{prefix}/{key}" if prefix else key

    def _s3(self) -> Any:
        return _s3_client(self.s3_endpoint, self.s3_region, self.s3_access_key_id, self.s3_secret_access_key)

    def _lance_options(self) -> dict[str, str]:
        options = {
            "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
            "timeout": f"{REQUEST_TIMEOUT_S}s",
            "client_max_retries": str(MAX_RETRIES),
            "client_retry_timeout": str(RETRY_TIMEOUT_S),
            "aws_endpoint": self.s3_endpoint,
            "aws_region": self.s3_region,
            "aws_access_key_id": self.s3_access_key_id,
            "aws_secret_access_key": self.s3_secret_access_key,
        }
        if (self.s3_endpoint or "").startswith("http://"):
            options["allow_http"] = "true"
        return {name: value for name, value in options.items() if value is not None}


def artefact_key(name: str) -> str:
    """The key of an artefact. Names come from requests and packs: one that could leave the folder is refused."""
    parts = PurePosixPath(name).parts
    bad = "\\" in name or "\0" in name or name.startswith("/") or name != "/".join(parts)
    if bad or not parts or any(part.startswith(".") for part in parts):
        raise InvalidInput(f"{name!r} is no artefact name: use plain names separated by '/'")
    return f"artefacts/{name}"


def file_mark(stat: os.stat_result) -> str | None:
    """A mark of a local file that changes when its content does, even if its time is put back; None while that can't be
    told, in the first two seconds."""
    if time.time_ns() - stat.st_ctime_ns < SETTLED_NS:
        return None
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turns what the storage libraries raise into StorageUnavailable; everything else passes."""
    try:
        yield
    except Exception as exc:
        if is_storage_failure(exc):
            raise StorageUnavailable(f"{doing} failed: {_first_line(exc)}") from exc
        raise


def is_storage_failure(exc: BaseException) -> bool:
    """Whether `exc` comes from the disk or the object store rather than from a wrong call."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(exc, OSError | BotoCoreError | ClientError):
        return True
    # Lance reports nearly everything as RuntimeError; its text tells I/O from the rest.
    text = str(exc)
    marks = ("LanceError(IO)", "Generic S3 error", "Generic LocalFileSystem error", "External error", "object_store")
    return isinstance(exc, RuntimeError) and (any(mark in text for mark in marks) or "IO error" in text)


@functools.lru_cache(maxsize=8)
def _s3_client(endpoint: str | None, region: str | None, key: str | None, secret: str | None) -> Any:
    # One per process and set of credentials: a client takes 100 ms to build and is safe to share between threads.
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=REQUEST_TIMEOUT_S,
            retries={"total_max_attempts": 2, "mode": "standard"},
            s3={"addressing_style": "path" if endpoint else "auto"},
            # Other S3 servers don't know the newer checksums that boto3 adds by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0][:300]
