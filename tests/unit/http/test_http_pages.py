"""The gallery page's files over HTTP: who gets them, and with which headers."""

from __future__ import annotations

import re
from typing import Any

import httpx

from sagaforge.http.pages import FILES, HERE, PATHS
from tests.support.http_client import KEY, check_problem

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


async def test_each_file_has_its_type_and_the_strict_headers(client: httpx.AsyncClient) -> None:
    for path, name in FILES.items():
        response = await client.get(path)
        assert response.status_code == 200
        assert response.content == (HERE / name).read_bytes()
        assert response.headers["content-type"].split(";")[0] == TYPES[name.rpartition(".")[2]]
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


async def test_a_file_that_is_known_is_not_sent_again(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/gallery")).headers["etag"]
    for known in (etag, f"W/{etag}", f'"another", {etag}'):
        again = await client.get("/gallery", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await client.get("/gallery", headers={"If-None-Match": '"another"'})).status_code == 200


async def test_the_root_leads_to_the_gallery(open_client: Any) -> None:
    client, _ = await open_client(api_key=KEY)  # with a key, any name may be the bundle's
    response = await client.get("/", headers={"Host": "elsewhere.example"})
    assert (response.status_code, response.headers["location"]) == (307, "/gallery")


async def test_there_is_nothing_but_the_list(client: httpx.AsyncClient) -> None:
    for path in ("/gallery/nothing.js", "/gallery/..%2fapp.py", "/gallery/__init__.py", "/gallery/"):
        check_problem(await client.get(path), 404, "not_found")


def test_the_list_is_complete() -> None:
    there = {path.name for path in HERE.iterdir() if path.suffix.lstrip(".") in TYPES}
    assert set(FILES.values()) == there


async def test_the_page_needs_no_key_but_without_one_this_machine(open_client: Any) -> None:
    with_key, _ = await open_client(api_key=KEY, address="203.0.113.9")
    without, _ = await open_client(address="203.0.113.9")
    for path in PATHS:
        assert (await with_key.get(path)).status_code in (200, 307)
        check_problem(await without.get(path), 403, "forbidden")


async def test_the_page_is_no_part_of_the_api(client: httpx.AsyncClient) -> None:
    assert not PATHS & set((await client.get("/openapi.json")).json()["paths"])


def test_nothing_comes_from_another_host_and_no_text_becomes_markup() -> None:
    for name in FILES.values():
        text = (HERE / name).read_text()
        assert set(re.findall(r"https?://[^\"'\s]+", text)) <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\bstyle=|\son\w+=", text), name
