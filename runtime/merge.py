"""Finished datasets of one schema as one, in any layout; a single one is converted.

    python -m runtime.merge night day -o both
    python -m runtime.merge frames -o shards --format webdataset

Files and records are copied as they are, numbered anew: `file_name` and the number of a clip are those of the merged
dataset, while `index` and `seed` stay those that draw the frame again. `dataset.json` keeps the description of every
part; figures and videos of clips are copied, too.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from contract.cli import Parser
from contract.dataset import Description, Record, frame_name
from contract.errors import EdgeError, Refused, UsageError, run_command
from contract.privacy_budget import KEYS
from contract.progress import progress_bar
from runtime.clips import merge_clips
from runtime.outputs.reader import StoredDataset, open_dataset
from runtime.outputs.shards import Sample
from runtime.outputs.writer import FORMATS, open_writer

BATCH = 64
"""Frames copied at a time."""

ONE_VALUE = ("checkpoint", "backend", "precision", "annotator", "reject_below", "clip")
"""Fields that a merged description keeps only where all parts agree; so it does their privacy, of one checkpoint."""


def merged_description(parts: Sequence[Description], layout: str) -> Description:
    """What describes the datasets as one; Refused where they don't fit together."""
    first = parts[0]
    for part in parts[1:]:
        for name in ("schema", "image", "codec"):
            if getattr(part, name) != getattr(first, name):
                raise Refused(f"merge: parts of another {name}; only datasets of one {name} can be merged")
    flat = [each for part in parts for each in (part.parts or (part.to_dict(),))]
    same = {name: _only(parts, name) for name in ONE_VALUE}
    if same["annotator"] is None:
        same["reject_below"] = None  # each part's annotator has its own idea of what agrees
    budgets = {part.privacy[0] for part in parts}
    # several private checkpoints give away more than each of them, if they learnt from the same people
    budget = budgets.pop() if same["checkpoint"] and len(budgets) == 1 else None
    same |= budget._asdict() if budget else dict.fromkeys(KEYS)
    text = {name: same[name] or "several" for name in ("backend", "precision")}
    return replace(
        first,
        **same | text,
        bundle=_only(parts, "bundle") or "",
        frames=_only(parts, "frames") or "",
        count=sum(part.count for part in parts),
        plan={},
        layout=layout,
        signed=all(part.signed for part in parts),
        parts=tuple(flat),
        complete=False,
        rejected=None,
        disagreeing=None,
    )


def merge(addresses: Sequence[str], output: str, layout: str) -> Description:
    """Copy finished datasets into one; what is there of an interrupted merge stays."""
    datasets = [open_dataset(address) for address in addresses]
    for address, dataset in zip(addresses, datasets, strict=True):
        if not dataset.description.complete:
            raise EdgeError(f"{address}: unfinished; run the command that began it again")
        if address.rstrip("/") == output.rstrip("/"):
            raise UsageError(f"{address}: both read and written; name another with -o")
    description = merged_description([dataset.description for dataset in datasets], layout)
    writer = open_writer(output, description)
    try:
        before = writer.written
        copied = itertools.islice(_copies(datasets, description.codec), before, None)
        with progress_bar(total=description.count, initial=before, unit="frame") as bar:
            while batch := list(itertools.islice(copied, BATCH)):
                for place, sample in enumerate(batch, writer.written):
                    writer.place(place, sample.content)
                writer.append([sample.record for sample in batch])
                bar.update(len(batch))
    finally:
        writer.close()
    merge_clips(datasets, open_dataset(output))
    return writer.description


def _copies(datasets: Sequence[StoredDataset], codec: str) -> Iterator[Sample]:
    before = list(itertools.accumulate((dataset.description.clips for dataset in datasets), initial=0))
    samples = ((clips, each) for clips, dataset in zip(before, datasets, strict=False) for each in dataset.samples())
    for place, (clips, (entry, content)) in enumerate(samples):
        clip = entry["clip"] and entry["clip"] | {"index": clips + entry["clip"]["index"]}
        numbered: Record = entry | {"file_name": frame_name(place, codec), "clip": clip}
        yield Sample(numbered, content)


def _only(parts: Sequence[Description], name: str) -> Any:
    found = {getattr(part, name) for part in parts}
    return found.pop() if len(found) == 1 else None


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    example = "example:\n  python -m runtime.merge night day -o both --format parquet"
    about = "Merge finished datasets of one schema, or convert one into another layout."
    parser = Parser(prog="python -m runtime.merge", description=about, epilog=example)
    parser.add_argument("datasets", nargs="+", metavar="DATASET", help="finished datasets, in the order of the frames")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="dataset to write")
    parser.add_argument("--format", choices=tuple(FORMATS), default="folder", help="layout of the result (folder)")
    parser.add_argument("--json", action="store_true", help="print a report as one JSON object")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    description = merge(args.datasets, args.output, args.format)
    figures = {"output": args.output, "frames": description.count, "parts": len(description.parts)}
    line = f"{args.output}: {description.count} frames of {len(description.parts)} parts"
    print(json.dumps(figures) if args.json else line)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("runtime.merge", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
