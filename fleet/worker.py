"""What draws shards: one engine in a process of its own, on some machine of the fleet.

    worker = ShardWorker(settings)
    worker.report(plan)                                # opens the engine, says which
    shard = worker.draw(plan, range(512, 1024))        # encoded frames and their records

A shard depends on the bundle, the plan, the seed and its indices alone, so that it can be drawn again anywhere.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from contract.bundle import read_manifest
from contract.cores import cores
from contract.dataset import Description, Record
from contract.errors import Refused
from fleet.cores import claim_cores
from fleet.private_folder import private_folder
from pictures.image_grid import Frame
from runtime.clips import FramePlan
from runtime.dataset_run import RunSettings, describe, draw, records_of
from runtime.generator import Generator
from runtime.outputs.images import FrameEncoder


@dataclass(frozen=True)
class EngineSettings:
    """How a worker opens its engine, and what it draws with."""

    bundle: str
    """Folder of the bundle as the command was given it."""

    digest: str
    """`Manifest.digest` of that bundle."""

    files: Callable[[], Mapping[str, bytes]] | None
    """Fetches the bundle itself, for machines that may not share the folder; None where all do."""

    cores: int
    """Processor cores that this worker may keep busy."""

    run: RunSettings
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
    landmarks: bool
    """Whether its annotator finds any."""


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

    def report(self, plan: FramePlan) -> WorkerReport:
        """Open the engine and describe the dataset that it makes of a plan; the errors of `Generator.open`."""
        generator, settings = self._open(), self._settings
        description = describe(generator, plan, settings.run)
        landmarks = bool(generator.annotator and generator.annotator.landmarks)
        return WorkerReport(description, self.process(), str(generator.details().get("device", "")), landmarks)

    def process(self) -> Process:
        """The process of this worker."""
        return Process(socket.gethostname(), os.getpid())

    def draw(self, plan: FramePlan, indices: range, pictured: Collection[int] = ()) -> Shard:
        """The shard of these indices, with the pictures of some of them."""
        generator, run = self._open(), self._settings.run
        encode = FrameEncoder(run.codec)
        shard = Shard(indices, [], [], {}, self.process())
        with ThreadPoolExecutor(cores(), thread_name_prefix="encode") as pool:
            encoded = []
            for batch in draw(generator, plan, run, indices):
                encoded += [pool.submit(encode, frame) for frame in batch.frames]
                shard.records.extend(records_of(batch, run.seed, run.codec, run.clip))
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
            if settings.run.reject_below is not None:
                self._generator.require_annotator()
        return self._generator


def find_bundle(settings: EngineSettings) -> Path:
    """The bundle's folder, or a copy of it where this machine doesn't have it."""
    if settings.files is None:
        return Path(settings.bundle)
    folder = private_folder("bundles") / settings.digest
    if not _holds(folder, settings.digest):
        shutil.rmtree(folder, ignore_errors=True)  # a system that tidies its temporary files may have left a part
        files, copy = settings.files(), Path(tempfile.mkdtemp(dir=folder.parent))
        for name, content in files.items():
            (copy / name).write_bytes(content)
        with suppress(OSError):  # another worker of this machine was faster
            copy.rename(folder)
        shutil.rmtree(copy, ignore_errors=True)
    if not _holds(folder, settings.digest):
        raise Refused(f"{folder}: not the bundle {settings.bundle}; remove it")
    return folder


def _holds(folder: Path, digest: str) -> bool:
    """Whether a folder has every file of the bundle."""
    try:
        manifest = read_manifest(folder)
    except Refused:
        return False
    return manifest.digest == digest and all((folder / name).is_file() for name in manifest.files)


def read_files(bundle: Path, names: Collection[str]) -> dict[str, bytes]:
    """The files of a bundle by name, to travel to other machines."""
    return {name: (bundle / name).read_bytes() for name in names}
