"""Workers without an engine, in a module that Ray's worker processes can import."""

from __future__ import annotations

import os
import time

from fleet.worker import Process, Shard


class Sleeper:
    """A worker whose shards never come back."""

    def draw(self, indices: range) -> None:
        time.sleep(3600)


class Quick:
    """A worker whose shards come back at once, and are empty."""

    def draw(self, indices: range) -> Shard:
        return Shard(indices, [], [], {}, Process("machine", os.getpid()))


class Deadly:
    """A worker whose process dies of every shard."""

    def draw(self, indices: range) -> None:
        os.abort()
