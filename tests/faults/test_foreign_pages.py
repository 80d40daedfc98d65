"""Kind 15: other people's web pages. Host names that are not ours, pages of other sites, and what they may embed."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sagaforge.errors import BadRequest, InvalidInput
from sagaforge.http.own_site import HEADERS, Host, host_of, is_loopback_name, is_same
from sagaforge.http.pages import PATHS
from sagaforge.http.routes import ROUTES
from sagaforge.settings import load_settings
from tests.support.fakes import WORLD_ID
from tests.support.http_client import KEY, TURN, app_of, check_problem, client_of

EVIL = "http://evil.example"
ALL_PATHS = [
    (route.method, route.path.format(world_id="w", chunk_id="c", session_id="s", image_id="i")) for route in ROUTES
] + [("GET", path) for path in (*PATHS, "/docs", "/openapi.json", "/redoc", "/nowhere")]


async def upload(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    """A simple request: a browser sends it for any page, without asking first."""
    files = {"file": ("reef.md", b"# Reef")}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/rag/upload", files=files, data={"world_id": "reef"}, headers=sent)


# --- host names ---------------------------------------------------------------------------------------------------

OWN = [
    "localhost", "localhost:8000", "LOCALHOST:1", "localhost.:8000", "studio.localhost:8000", "127.0.0.1:8000", "127.9.8.7",
    "[::1]:8000", "[0:0::1]", "[::ffff:127.0.0.1]:80", "localhost:",
]  # fmt: skip
FOREIGN = [
    "evil.example:8000", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhostx", "xlocalhost:80",
    "0.0.0.0:8000", "10.0.0.1:8000", "[::]:8000", "[2001:db8::1]", "127.1", "2130706433", "0x7f000001", "bundle", "..",
]  # fmt: skip
MALFORMED = [
    "", " ", "user@localhost", "localhost:80@evil.example", "localhost/", "localhost:abc", "localhost:123456", "a b",
    "localhost, localhost", "[::1", "::1", "[::1]x", "[:::]", "löcalhost", "localhost\\evil", "http://localhost", "localhost#",
]  # fmt: skip


@pytest.mark.parametrize("host", OWN)
async def test_own_names_are_answered(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/worlds", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
async def test_other_names_are_not(client: httpx.AsyncClient, host: str) -> None:
    """DNS rebinding: the name of a page that points at this machine."""
    problem = check_problem(await client.get("/worlds", headers={"Host": host}), 421, "misdirected")
    assert "SAGAFORGE_ALLOWED_HOSTS" in problem["detail"]


@pytest.mark.parametrize("host", MALFORMED)
async def test_what_is_no_host_is_not_answered(client: httpx.AsyncClient, host: str) -> None:
    sent: Any = {"Host": host.encode("latin-1")}
    check_problem(await client.get("/worlds", headers=sent), 400, "bad_request")


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
async def test_one_host_exactly(house: Any, hosts: list[str]) -> None:
    told = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/worlds",
        "raw_path": b"/worlds", "query_string": b"", "root_path": "", "client": ("127.0.0.1", 5000), "server": None,
        "headers": [(b"host", host.encode()) for host in hosts],
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    await app_of(house)(scope, receive, send)
    assert told[0]["status"] == 400
    assert json.loads(told[1]["body"])["code"] == "bad_request"


@pytest.mark.parametrize(("method", "path"), ALL_PATHS, ids=str)
async def test_every_route_asks_for_the_name(client: httpx.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, path, headers={"Host": "evil.example:8000"})
    check_problem(response, 421, "misdirected")


async def test_names_that_a_proxy_claims_are_not_believed(client: httpx.AsyncClient) -> None:
    claimed = {"Host": "evil.example", "X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
    check_problem(await client.get("/worlds", headers=claimed), 421, "misdirected")
    claimed = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    assert (await client.get("/worlds", headers=claimed)).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/health", "/readyz"])
async def test_probes_are_answered_under_any_name(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path, headers={"Host": "10.1.2.3:8000"})).status_code == 200


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({"allowed_hosts": ("Studio.example",)}, "studio.EXAMPLE.:9", 200),
        ({"allowed_hosts": ("studio.example",)}, "a.studio.example", 421),
        ({"allowed_hosts": ("studio.example",)}, "localhost", 200),
        ({"allowed_hosts": ("*.studio.example",)}, "b.a.studio.example", 200),
        ({"allowed_hosts": ("*.studio.example",)}, "studio.example", 421),
        ({"allowed_hosts": ("*.studio.example",)}, "xstudio.example", 421),
        ({"allowed_hosts": ("[2001:db8::1]",)}, "[2001:DB8:0::1]:80", 200),
        ({"api_key": KEY}, "anything.example", 200),
        ({"api_key": KEY}, "any thing", 400),
        ({"api_key": KEY, "allowed_hosts": ("studio.example",)}, "anything.example", 421),
        ({"api_key": KEY, "allowed_hosts": ("studio.example",), "host": "10.0.0.7"}, "10.0.0.7:8000", 200),
        ({"api_key": KEY, "allowed_hosts": ("studio.example",), "host": "10.0.0.7"}, "10.0.0.8:8000", 421),
    ],
    ids=str,
)
async def test_the_setting(open_client: Any, settings: dict[str, Any], host: str, status: int) -> None:
    client, _ = await open_client(**settings)
    answer = await client.get("/worlds", headers={"Host": host, "X-API-Key": KEY})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "name", ["http://studio.example", "studio.example:80", "*", "*.", "a b", "", "user@host", "[:::]", "stu*.example"]
)
def test_a_setting_that_names_no_host(name: str) -> None:
    with pytest.raises(InvalidInput, match="SAGAFORGE_ALLOWED_HOSTS"):
        load_settings(allowed_hosts=(name,))


# --- pages of other sites -----------------------------------------------------------------------------------------

OTHER_SITES: list[dict[str, str]] = [
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://localhost:80@evil.example"},
    {"Origin": "http://evil.example/localhost"},
    {"Origin": "http://127.0.0.1"},
    {"Host": "localhost:80", "Origin": "https://localhost"},
    {"Origin": "chrome-extension://localhost"},
    {"Origin": "file://"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
    {"Origin": EVIL, "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "something-new"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},  # a form
]
OURS: list[dict[str, str]] = [
    {},
    {"Origin": "http://localhost"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://localhost:80"},
    {"Sec-Fetch-Site": "none"},
    {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"},
    {"Host": "[::1]:8000", "Origin": "http://[::1]:8000"},
    {"Host": "LOCALHOST:8000", "Origin": "http://localhost:8000"},
    {"Host": "localhost:443", "Origin": "https://localhost"},
    {"Host": "localhost", "Origin": "https://localhost"},  # behind a proxy that ends TLS
]


@pytest.mark.parametrize("headers", OTHER_SITES, ids=str)
async def test_another_sites_page_writes_nothing(house: Any, headers: dict[str, str]) -> None:
    async with client_of(app_of(house)) as client:
        problem = check_problem(await upload(client, **headers), 403, "forbidden")
        assert "SAGAFORGE_CORS_ORIGINS" in problem["detail"]
        check_problem(await client.post("/llm/turn", json=TURN, headers=headers), 403, "forbidden")
        check_problem(await client.post("/llm/turn", json={**TURN, "stream": True}, headers=headers), 403, "forbidden")
        check_problem(await client.delete(f"/worlds/{WORLD_ID}", headers=headers), 403, "forbidden")
    assert (house.ingestion.uploads, house.llm.payloads) == ([], [])


@pytest.mark.parametrize("headers", OURS, ids=str)
async def test_our_own_page_and_plain_clients_write(house: Any, headers: dict[str, str]) -> None:
    async with client_of(app_of(house)) as client:
        assert (await upload(client, **headers)).status_code == 200
    assert len(house.ingestion.uploads) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": EVIL}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "embed"}, 403),
        ({"Origin": EVIL}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 200),
        ({}, 200),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/worlds", "/gallery", "/docs", "/openapi.json", "/images"])
async def test_reads_are_for_links_and_our_own_page(
    client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int
) -> None:
    assert (await client.get(path, headers=headers)).status_code == status


async def test_an_origin_that_cors_allows_reads_and_writes(open_client: Any) -> None:
    client, house = await open_client(cors_origins=("https://studio.example",))
    allowed = {"Origin": "https://studio.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    answer = await upload(client, **allowed)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://studio.example"
    assert (await client.get("/worlds", headers=allowed)).status_code == 200
    for origin in ("https://studio.example:444", "http://studio.example", "https://studio.example.", EVIL):
        check_problem(await upload(client, Origin=origin), 403, "forbidden")
    assert len(house.ingestion.uploads) == 1


async def test_two_origins_are_none(client: httpx.AsyncClient) -> None:
    headers = [("Origin", "http://localhost"), ("Origin", EVIL)]
    files = {"file": ("reef.md", b"# Reef")}
    answer = await client.post("/rag/upload", files=files, data={"world_id": "reef"}, headers=headers)
    check_problem(answer, 403, "forbidden")


async def test_openai_clients_get_their_own_shape(client: httpx.AsyncClient) -> None:
    body = {"model": "pocket", "messages": [{"role": "user", "content": "hi"}]}
    answer = await client.post("/v1/chat/completions", json=body, headers={"Origin": EVIL})
    assert check_problem(answer, 403, "forbidden")["error"]["message"]


async def test_the_key_does_not_open_the_pages_rule(open_client: Any) -> None:
    client, house = await open_client(api_key=KEY)
    check_problem(await upload(client, Origin=EVIL, X_API_Key=KEY), 403, "forbidden")
    assert (await upload(client, X_API_Key=KEY)).status_code == 200
    assert len(house.ingestion.uploads) == 1


# --- what a browser is told ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [*ALL_PATHS, ("GET", "/healthz"), ("OPTIONS", "/worlds")], ids=str)
async def test_every_response_has_the_headers(client: httpx.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, path)
    for name, value in HEADERS.items():
        assert response.headers.get_list(name.decode()) == [value.decode()]


async def test_a_stream_has_them_too(client: httpx.AsyncClient) -> None:
    async with client.stream("POST", "/llm/turn", json={**TURN, "stream": True}) as response:
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["content-type"].startswith("text/event-stream")


async def test_there_are_no_websockets(house: Any) -> None:
    told = []
    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "scheme": "ws", "path": "/llm/turn", "raw_path": b"/llm/turn",
        "query_string": b"", "root_path": "", "headers": [(b"host", b"evil.example")], "client": ("127.0.0.1", 5000),
        "server": ("localhost", 80), "subprotocols": [],
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        told.append(message["type"])

    await app_of(house)(scope, receive, send)
    assert told == ["websocket.close"]


# --- the rule itself ----------------------------------------------------------------------------------------------


@given(st.ip_addresses())
@example(ipaddress.ip_address("::ffff:127.0.0.1"))
@example(ipaddress.ip_address("127.255.255.254"))
def test_of_addresses_only_loopback_is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    written = f"[{address}]:8000" if address.version == 6 else f"{address}:8000"
    host = host_of(_headers(written))
    mapped = getattr(address, "ipv4_mapped", None) or address
    assert host == Host(str(mapped), 8000)
    assert is_loopback_name(host.name) is mapped.is_loopback


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@given(NAMES, st.integers(1, 65535), NAMES, st.integers(1, 65535), st.sampled_from(["http", "https"]))
def test_an_origin_is_own_where_name_and_port_are(name: str, port: int, other: str, also: int, scheme: str) -> None:
    host = host_of(_headers(f"{name.upper()}:{port}"))
    assert is_same(f"{scheme}://{name}:{port}", host)
    assert is_same(f"{scheme}://{other}:{also}", host) is ((name, port) == (other, also))
    assert is_same(f"{scheme}://{name}", host) is (port == {"http": 80, "https": 443}[scheme])
    assert not is_same(f"{scheme}://{name}:{port}.evil.example", host)


@given(st.text(st.characters(max_codepoint=255), max_size=20))
def test_any_header_is_a_host_or_a_bad_request(value: str) -> None:
    try:
        host = host_of(_headers(value))
    except BadRequest:
        return
    assert host.name == host.name.lower()
    assert not set(host.name) & set("@/\\?# ,\t\r\n")


def _headers(host: str) -> Any:
    from starlette.datastructures import Headers

    return Headers(raw=[(b"host", host.encode("latin-1"))])
