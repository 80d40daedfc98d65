"""Where a bundle listens: beyond loopback nothing does but what docs/configuration.md names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import psutil

from sagaforge.launch import HAPROXY_PORTS
from tests.integration.bundle import Bundle

# HAProxy's statistics: Ray writes its configuration, with these on every interface.
OPEN = HAPROXY_PORTS[:2]


def processes(bundle: Bundle) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """Every process of the bundle, with its environment, which all of them inherit."""
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get("SAGAFORGE_STORAGE") == str(bundle.storage):
            yield process, environment


def is_local(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def test_nothing_listens_beyond_loopback_but_the_documented_ports(bundle: Bundle) -> None:
    documented: set[int] = set()
    local, beyond = set(), set()
    for process, environment in processes(bundle):
        documented |= {int(environment[name]) for name in OPEN if name in environment}
        for one in process.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN:
                found = local if is_local(one.laddr.ip) else beyond
                found.add((process.name(), one.laddr.ip, one.laddr.port))
    assert len(local) > 10, "the bundle's processes were not found"
    assert any(port == int(bundle.url.rpartition(":")[2]) for _, _, port in local)
    assert {(name, ip, port) for name, ip, port in beyond if port not in documented} == set()
