"""Keeps what replicas say to each other on this machine, where the bundle is on one machine.

Each replica of Serve 2.60 opens a gRPC server on every interface, which asks for no token and unpickles what it is
sent: whoever reaches it could run code. Ray has no option for its address. Serve opens it after a deployment's
`__init__`, so that is where it is told.
"""

from __future__ import annotations

from typing import Any

EVERY_INTERFACE, LOOPBACK = "[::]", "127.0.0.1"


def listen_on_loopback() -> None:
    """To be called as a replica starts. Of no effect on a node that has another address than loopback's: others must
    reach its replicas."""
    import ray.util
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server
    if ray.util.get_node_ip_address() != LOOPBACK or getattr(add_port, "is_local", False):
        return

    def add_local_port(server: Any, address: str) -> int:
        return add_port(server, address.replace(EVERY_INTERFACE, LOOPBACK))

    add_local_port.is_local = True  # type: ignore[attr-defined]
    replica.add_port_to_grpc_server = add_local_port
