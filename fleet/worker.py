"""What draws shards: one engine in a process of its own, on some machine of the fleet.

    worker = ShardWorker(settings)
    worker.report()                                    # opens the engine, says which
    shard = worker.draw(plan, range(512, 1024))        # encoded frames and their records

A shard depends on the bundle, the plan, the seed and its indices alone, so that it can be drawn again anywhere.
"""

from __future__ import annotations

import itertools
import os
import socket
import tempfile
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from contract.bundle import read_manifest
from contract.dataset import Description, Record
from contract.errors import Refused
from contract.plan import Plan
from fleet.cores import claim_cores
from pictures.image_grid import Frame
from runtime.backends.cpu_pool import cores
from runtime.dataset_run import describe, records_of
from runtime.generator import Generator
from runtime.outputs.writer import encode_png


@dataclass(frozen=True)
class EngineSettings:
    """How a worker opens its engine, and what it draws with."""

    bundle: str
    """Folder of the bundle as the command was given it."""

    digest: str
    """`Manifest.digest` of that bundle."""

    files: Mapping[str, bytes] | None
    """The bundle itself, for machines that may not share the folder; None where all do."""

    cores: int
    """Processor cores that this worker may keep busy."""

    seed: int
    reject_below: float | None
    backend: str
    precision: str
    batch: int | None
    annotator: str
    state: str | None


class Process(NamedTuple):
    """One process of the fleet."""

    machine: str
    number: int


@dataclass(frozen=True)
class WorkerReport:
    """What a worker opened; every worker of a fleet has to describe the same dataset."""

    description: Description
    process: Process
    device: str


@dataclass(frozen=True)
class Shard:
    """The frames of some consecutive indices."""

    indices: range
    contents: list[bytes]
    """Encoded frames."""

    records: list[Record]
    pictures: dict[int, Frame]
    """The frames that the contact sheet shows, uint8 [H, W, C], by index."""

    process: Process
    """What drew it."""


class ShardWorker:
    """Draws shards, one at a time; the engine is opened by the first call."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._generator: Generator | None = None
        self._cores = claim_cores(settings.cores)

    def report(self, plan: Plan) -> WorkerReport:
        """Open the engine and describe the dataset that it makes of a plan; the errors of `Generator.open`."""
        generator, settings = self._open(), self._settings
        description = describe(generator, plan, settings.seed, settings.reject_below)
        return WorkerReport(description, self.process(), str(generator.details().get("device", "")))

    def process(self) -> Process:
        """The process of this worker."""
        return Process(socket.gethostname(), os.getpid())

    def draw(self, plan: Plan, indices: range, pictured: Collection[int] = ()) -> Shard:
        """The shard of these indices, with the pictures of some of them."""
        generator, settings = self._open(), self._settings
        conditions = itertools.islice(plan.conditions(indices.start), len(indices))
        batches = generator.stream(conditions, settings.seed, indices.start, reject_below=settings.reject_below)
        shard = Shard(indices, [], [], {}, self.process())
        with ThreadPoolExecutor(cores(), thread_name_prefix="encode") as pool:
            encoded = []
            for batch in batches:
                encoded += [pool.submit(encode_png, frame) for frame in batch.frames]
                shard.records.extend(records_of(batch, settings.seed))
                rows = enumerate(batch.frames, batch.start)
                shard.pictures.update((index, frame) for index, frame in rows if index in pictured)
            shard.contents.extend(each.result() for each in encoded)
        return shard

    def _open(self) -> Generator:
        if self._generator is None:
            settings = self._settings
            self._generator = Generator.open(
                find_bundle(settings),
                settings.backend,
                settings.precision,
                settings.batch,
                settings.state,
                annotator=settings.annotator,
            )
            if settings.reject_below is not None:
                self._generator.require_annotator()
        return self._generator


def find_bundle(settings: EngineSettings) -> Path:
    """The bundle's folder, or a copy of it where this machine doesn't have it."""
    if settings.files is None:
        return Path(settings.bundle)
    folder = Path(tempfile.mkdtemp(prefix=f"bundle-{settings.digest[:12]}-"))
    for name, content in settings.files.items():
        (folder / name).write_bytes(content)
    if read_manifest(folder).digest != settings.digest:
        raise Refused(f"{folder}: another bundle than {settings.bundle}; start the command again")
    return folder


def read_files(bundle: Path, names: Collection[str]) -> dict[str, bytes]:
    """The files of a bundle by name, to travel to other machines."""
    return {name: (bundle / name).read_bytes() for name in names}
