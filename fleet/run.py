"""One dataset drawn by a pool of workers, and written by this process.

    fleet = Fleet(cluster, workers, plan)
    result = fleet.write(open_writer("frames", fleet.description), "frames", shard=512)

Whatever the format, it is written by the runtime's own writer in the order of the indices: hence the same bytes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from contract.cores import cores
from contract.dataset import Description
from contract.progress import progress_bar
from fleet.cluster import Cluster
from fleet.pool import agreed, ask
from fleet.scheduler import Scheduler, cut
from fleet.worker import Shard
from pictures.contact_sheet import ContactSheet
from runtime.clips import FramePlan
from runtime.dataset_run import draw_contact_sheet
from runtime.outputs.dataset_writer import DatasetWriter
from runtime.outputs.images import CODECS
from runtime.outputs.signing import FrameSigner


class FleetResult(NamedTuple):
    """What a run came to."""

    description: Description
    new: int
    """Frames that weren't there before."""

    seconds: float
    """From the first shard handed out to the last one written."""

    losses: int
    """Workers that died and were started again."""

    machines: dict[str, int]
    """Workers on each machine."""

    contact_sheet: Path | None


class Fleet:
    """Workers that have opened their engines and agree on the dataset that they make of a plan."""

    def __init__(self, cluster: Cluster, workers: Sequence[Any], plan: FramePlan) -> None:
        self._cluster, self._workers, self._plan = cluster, workers, plan
        self._reference = cluster.ray.put(plan)
        reports = ask(cluster, [worker.report.remote(self._reference) for worker in workers])
        self._processes = [report.process for report in reports]
        self.description = agreed(reports)
        self.landmarks = all(report.landmarks for report in reports)

    def write(self, writer: DatasetWriter, folder: str, shard: int, signer: FrameSigner | None = None) -> FleetResult:
        """Draw what the dataset doesn't hold yet, and its contact sheet; closes the writer.

        Shards of clips that may be rejected are whole clips, of which a worker draws none that another one draws.
        """
        started, before, count = time.perf_counter(), writer.written, self._plan.count
        if self.description.clip and self.description.reject_below is not None:
            shard = -(-shard // self.description.clip.frames) * self.description.clip.frames
        sheet = ContactSheet(self._plan.schema, count)
        pictured = self._cluster.ray.put(frozenset(sheet.missing))

        def submit(worker: Any, indices: range) -> Any:
            return worker.draw.remote(self._reference, indices, pictured)

        media_type = CODECS[self.description.codec].media_type
        sign = partial(signer.sign, media_type=media_type) if signer else None
        scheduler = Scheduler(self._cluster.ray, self._workers, submit, self._processes)
        try:
            with (
                ThreadPoolExecutor(cores(), thread_name_prefix="sign") as pool,
                progress_bar(total=count, initial=before, unit="frame") as bar,
            ):
                for found in scheduler.run(cut(range(before, count), shard)):
                    _append(writer, sheet, found, pool.map(sign, found.contents) if sign else found.contents)
                    bar.set_postfix(lost=scheduler.losses, refresh=False) if scheduler.losses else None
                    bar.update(len(found.indices))
        finally:
            writer.close()
        seconds = time.perf_counter() - started
        drawn = draw_contact_sheet(sheet, folder, changed=True)
        new, machines = count - before, dict(Counter(process.machine for process in self._processes))
        return FleetResult(writer.description, new, seconds, scheduler.losses, machines, drawn)


def _append(writer: DatasetWriter, sheet: ContactSheet, shard: Shard, contents: Iterable[bytes]) -> None:
    for index, content in zip(shard.indices, contents, strict=True):
        writer.place(index, content)
    writer.append(shard.records)
    for record in shard.records:
        if record["index"] in shard.pictures:
            sheet.add(record["index"], shard.pictures[record["index"]], record)
