"""A bundle on an S3 bucket, with a key, stopped, and deployed again on another cluster: what was acknowledged is still
there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.support.bundle import TURN, Bundle, deployed_bundle, running_bundle

KEY = "a-key-of-the-tests-own"
LORE = b"# Mill End\n\n## The miller\n\nOda Fenn has run the mill at Mill End for thirty years.\n"
HEADERS = {"Authorization": f"Bearer {KEY}"}

pytestmark = pytest.mark.timeout(900)  # a replica or a bundle takes minutes to start on a busy machine


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    endpoint = f"http://127.0.0.1:{port}"
    secrets = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **secrets).create_bucket(Bucket="worlds")
    yield {
        "SAGAFORGE_STORAGE": "s3://worlds/bundle",
        "SAGAFORGE_S3_ENDPOINT": endpoint,
        "SAGAFORGE_S3_ACCESS_KEY_ID": "test",
        "SAGAFORGE_S3_SECRET_ACCESS_KEY": "test",
        "SAGAFORGE_LOAD_SAMPLES": "false",
        "SAGAFORGE_API_KEY": KEY,
    }
    server.stop()


def test_a_session_outlives_the_bundle(bucket: dict[str, str], tmp_path: Path) -> None:
    with running_bundle(tmp_path / "first", **bucket) as bundle:
        first = _play_on_s3(bundle)
    with deployed_bundle(tmp_path / "second", **bucket) as bundle, bundle.client(headers=HEADERS) as client:
        assert client.get(f"/story/{first['session_id']}").json() == first
        body = {**TURN, "world_id": "mill", "session_id": first["session_id"], "max_tokens": 64}
        second = client.post("/llm/turn", json=body)
        assert second.status_code == 200, second.text
        assert second.json()["game_state"]["turn_count"] == 2


def _play_on_s3(bundle: Bundle) -> dict:
    with bundle.client() as client:
        assert client.get("/healthz").status_code == 200
        for route in ("/worlds", "/docs", "/v1/models"):
            assert client.get(route).status_code == 401, route
        assert client.get("/worlds", headers={"X-API-Key": KEY[:-1]}).status_code == 401
    with bundle.client(headers=HEADERS) as client:
        uploaded = client.post("/rag/upload", files={"file": ("mill.md", LORE)}, data={"world_id": "mill"})
        assert uploaded.status_code == 200, uploaded.text
        found = client.post("/rag/retrieve", json={"world_id": "mill", "query": "Who runs the mill?"})
        assert "Oda Fenn" in found.json()["chunks"][0]["text"]
        turn = client.post("/llm/turn", json={**TURN, "world_id": "mill", "max_tokens": 64})
        assert turn.status_code == 200, turn.text
        return turn.json()
