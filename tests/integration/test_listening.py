"""Where a bundle listens: beyond loopback nothing does but what docs/configuration.md names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import psutil

from sagaforge.launch import HAPROXY_PORTS
from tests.support.bundle import Bundle

# Ray binds these to every interface, whatever it is told: HAProxy's statistics.
HAPROXY = HAPROXY_PORTS[:2]


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
    statistics: set[int] = set()
    local: set[int] = set()
    undocumented: list[tuple[str, str, int]] = []
    for process, environment in processes(bundle):
        statistics |= {int(environment[name]) for name in HAPROXY if name in environment}
        listening = [one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        local |= {address.port for address in listening if is_local(address.ip)}
        beyond = [address for address in listening if not is_local(address.ip)]
        undocumented += [(process.name(), *address) for address in beyond]
    assert len(local) > 10, "the bundle's processes were not found"
    assert int(bundle.url.rpartition(":")[2]) in local
    assert [one for one in undocumented if one[2] not in statistics] == []
