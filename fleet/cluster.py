"""A Ray cluster to draw on: an embedded one on this machine, or one that runs already.

    with connect(None) as cluster: ...                     # embedded; listens on the loopback address alone
    with connect("head:6379") as cluster: ...

An embedded one sends nothing anywhere: Ray's usage reports are switched off in it. A cluster that runs already was
started by somebody else, with whatever settings they chose: `ray disable-usage-stats` on its head node.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from contract.cores import cores
from contract.errors import Unavailable

T = TypeVar("T")

OBJECT_STORE = 256 << 20
"""Bytes of shared memory for finished shards on this machine; two shards a worker wait there."""

NOWHERE = "http://127.0.0.1:9"
"""A proxy that isn't there: port 9 is the discard service, which nobody runs."""

ANSWERS = 10.0
"""Seconds that a head node has to take a connection: Ray itself would wait for it for ever."""

EMBEDDED = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Even so, Ray 2.60 asks the metadata servers of three clouds where it runs, for a report that it doesn't send.
    "http_proxy": NOWHERE,
    "https_proxy": NOWHERE,
    "no_proxy": "127.0.0.1,localhost",
    # Despite its name: the loopback address instead of the network's. Read when Ray is imported.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
"""Environment that the embedded cluster's processes start with."""


@dataclass(frozen=True)
class Cluster:
    """A connection to Ray."""

    ray: Any
    """The module, since only those who use a fleet have it installed."""

    cpus: Sequence[float]
    """Processor cores of each node that is alive."""

    gpus: float
    embedded: bool

    def share(self, value: T) -> Callable[[], T]:
        """A function that fetches the value on any machine, as long as the caller keeps the function."""
        return partial(self.ray.get, self.ray.put(value))


@contextmanager
def connect(address: str | None) -> Iterator[Cluster]:
    """Start an embedded cluster, or connect to the one at `address`; shut down or disconnected at the end.

    Unavailable without Ray, or where nothing answers at the address.
    """
    if address:
        _knock(address)
    with _environment({} if address else EMBEDDED):
        ray = load_ray()
        _init(ray, address)
    with redirect_stdout(sys.stderr):  # where Ray's own messages about lost workers belong, to the last
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            cpus = [node["CPU"] for node in nodes if node.get("CPU")]
            yield Cluster(ray, cpus, sum(node.get("GPU", 0.0) for node in nodes), address is None)
        finally:
            with suppress(Exception):
                ray.shutdown()


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def load_ray() -> Any:
    """Ray; Unavailable, with the command that installs it, where it isn't there."""
    try:
        import ray
    except ImportError as error:
        raise Unavailable(f"{error.name or 'ray'} isn't installed; run: pip install '.[fleet]'") from error
    return ray


def _knock(address: str) -> None:
    """Unavailable where nobody takes a connection at `[ray://]host:port`; other addresses are left to Ray."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS).close()
    except (OSError, OverflowError) as error:
        raise Unavailable(f"--ray {address}: nobody answers ({error}); see `ray status` on its head node") from error


def _init(ray: Any, address: str | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"num_cpus": cores(), "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        ray.init(address=address or "local", **options)
    except Exception as error:  # Ray raises a dozen kinds
        where = f"--ray {address}" if address else "embedded Ray"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Unavailable(f"{where}: {reason}; see `ray status` on its head node") from error
