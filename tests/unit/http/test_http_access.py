"""Who may call: the key, this machine alone without one, and exact origins."""

from __future__ import annotations

from typing import Any

import pytest

from sagaforge.http.routes import ROUTES
from tests.support.http_client import KEY, check_problem

# --- key and exposure -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": KEY[:-1]},
        {"Authorization": "Bearer \xe9".encode("latin-1")},
        {"Authorization": KEY},
    ],
)
async def test_every_route_needs_the_key(open_client: Any, headers: dict[str, Any]) -> None:
    client, _ = await open_client(api_key=KEY)
    paths = [
        (route.method, route.path.format(world_id="w", chunk_id="c", session_id="s", image_id="i")) for route in ROUTES
    ]
    for method, path in [*paths, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/nowhere")]:
        response = await client.request(method, path, headers=headers)
        check_problem(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}, {"Authorization": f"bearer {KEY}"}]
)
async def test_the_key_lets_in_from_anywhere(open_client: Any, headers: dict[str, str]) -> None:
    client, _ = await open_client(api_key=KEY, host="0.0.0.0", address="203.0.113.9")
    assert (await client.get("/worlds", headers=headers)).status_code == 200


async def test_keys_are_compared_in_constant_time(open_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr("sagaforge.http.middleware.hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    client, _ = await open_client(api_key=KEY)
    await client.get("/worlds", headers={"X-API-Key": "guess"})
    assert compared == [(b"guess", KEY.encode())]


@pytest.mark.parametrize("path", ["/healthz", "/health", "/readyz"])
async def test_probes_need_no_key(open_client: Any, path: str) -> None:
    client, _ = await open_client(api_key=KEY)
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("address", ["203.0.113.9", "10.0.0.2", "2001:db8::1", "::ffff:10.0.0.2"])
async def test_without_a_key_only_this_machine_is_answered(open_client: Any, address: str) -> None:
    client, _ = await open_client(address=address)
    check_problem(await client.get("/worlds"), 403, "forbidden")
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
async def test_loopback_needs_no_key(open_client: Any, address: str) -> None:
    client, _ = await open_client(address=address)
    assert (await client.get("/worlds")).status_code == 200


# --- CORS -----------------------------------------------------------------------------------------------------------


async def test_only_exact_origins_may_call(open_client: Any) -> None:
    client, _ = await open_client(cors_origins=("https://studio.example",), api_key=KEY)
    for origin, allowed in [
        ("https://studio.example", "https://studio.example"),
        ("https://studio.example.evil", None),
        ("http://studio.example", None),
        ("null", None),
    ]:
        headers = {"Origin": origin, "X-API-Key": KEY}
        assert (await client.get("/worlds", headers=headers)).headers.get("Access-Control-Allow-Origin") == allowed
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "X-API-Key",
        }
        preflight = await client.options("/llm/turn", headers=asked)
        assert preflight.headers.get("Access-Control-Allow-Origin") == allowed
        assert (preflight.status_code == 200) == (allowed is not None)
    # A browser must be able to read why it was refused.
    refused = await client.get("/worlds", headers={"Origin": "https://studio.example"})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == "https://studio.example"
