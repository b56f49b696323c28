"""Turn recordings of a public layout into images of one size with their labels, which training reads.

    python -m sources.convert state-farm recordings --size 128x128 --splits 0.7 0.15 0.15
    python -m training.train_annotator recordings/train --held-out recordings/validation -o build/annotator

Every frame keeps its driver, and its labels in the data set's own words beside those of the schema. Videos are read
with imageio-ffmpeg.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from contract.cli import Parser, integer
from contract.conditions import Schema
from contract.dataset import DESCRIPTION
from contract.errors import Refused, UsageError, run_command
from contract.files import write_whole
from contract.progress import progress_bar
from sources.imagefolder import schema_of
from sources.images import read_picture
from sources.options import add_layout_flags, chosen_layout, chosen_mapping, recognised
from sources.public.record import IMAGES, Sample, read_layout
from sources.splits import split_by_driver
from sources.video import read_video

SPLITS = ("train", "validation", "test")
"""Names of the parts that `--splits` makes, in the order of its shares."""

A_FOLDER = 1000
"""Frames in one folder."""

Frame = npt.NDArray[np.uint8]


class FrameWriter:
    """Writes frames of one split with their records; `close` writes the records, last of all."""

    def __init__(self, folder: Path, size: tuple[int, int], schema: Schema) -> None:
        self.folder, self.size, self.schema = folder, size, schema
        self.lines: list[str] = []

    def write(self, frame: Frame, sample: Sample) -> None:
        """One frame [H, W, C], scaled and cut around its middle to the size, and its record."""
        number = len(self.lines)
        name = f"frames/{number // A_FOLDER:05d}/{number:08d}.png"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fitted = ImageOps.fit(Image.fromarray(frame.squeeze()), self.size, Image.Resampling.LANCZOS)
        fitted.save(path)
        labels = {field: sample.labels.get(field) for field in self.schema.names}
        raw = {f"label.{column}": value for column, value in (*sample.raw.items(), *sample.clip.items())}
        record = {"file_name": name, "driver": sample.driver, "origin": "recorded", "synthetic": False}
        self.lines.append(json.dumps(record | labels | raw) + "\n")

    def close(self) -> None:
        """Write the records and the schema."""
        write_whole(self.folder / "metadata.jsonl", "".join(self.lines).encode())
        write_whole(self.folder / DESCRIPTION, json.dumps({"schema": self.schema.to_dict()}).encode())


def convert(
    samples: Sequence[Sample], out: Path, size: tuple[int, int], schema: Schema, every: int
) -> tuple[dict[str, int], int]:
    """Write the frames of all samples below `out`, a folder for each split.

    Returns how many frames each split has, and how many labelled ones lie past the ends of their videos.

    Of a video it takes every `every`-th frame. Refused where `out` holds something already; it appears whole.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out}: holds something already; choose another folder, or remove it")
    part = out.absolute().with_name(f".{out.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    writers = {split: FrameWriter(part / split, size, schema) for split in sorted({s.split for s in samples})}
    missing = 0
    try:
        by_file = sorted(samples, key=lambda sample: sample.file)
        for file, of_file in itertools.groupby(progress_bar(by_file, unit="record"), lambda s: s.file):
            group = list(of_file)
            missing += sum(len(sample.numbers(every)) for sample in group)
            for frame, sample in frames_of(file, group, every):
                writers[sample.split].write(frame, sample)
                missing -= sample.span is not None
        for split, writer in writers.items():
            if not writer.lines:
                raise Refused(f"{split or out}: no frame; the labels lie past the ends of their videos")
            writer.close()
        write_whole(part / DESCRIPTION, json.dumps({"schema": schema.to_dict()}).encode())
        if out.exists():
            out.rmdir()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {split: len(writer.lines) for split, writer in writers.items()}, missing


def frames_of(file: Path, samples: Sequence[Sample], every: int) -> Iterator[tuple[Frame, Sample]]:
    """Frames of one file with the sample that each belongs to; a span ends where its video does."""
    if file.suffix.lower() in IMAGES:
        picture = read_picture(file)
        if picture.pixels.dtype != np.uint8:
            raise Refused(f"{file}: {picture.pixels.dtype}; expected 8 bits (read a folder of such images as it is)")
        yield from ((picture.pixels, sample) for sample in samples)
        return
    wanted: dict[int, list[Sample]] = {}
    for sample in samples:
        for number in sample.numbers(every):
            wanted.setdefault(number, []).append(sample)
    whole = [sample for sample in samples if sample.span is None]
    if not wanted and not whole:
        return
    last = None if whole else max(wanted) + 1
    for number, frame in enumerate(itertools.islice(read_video(file), last)):
        for sample in (*wanted.get(number, ()), *(whole if number % every == 0 else ())):
            yield frame, sample


def image_size(text: str) -> tuple[int, int]:
    """`64x48` as width and height."""
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(re.fullmatch("[0-9]{1,4}", side) and 8 <= int(side) <= 4096 for side in sides):
        raise argparse.ArgumentTypeError(f"{text[:40]}: expected width and height, like 128x128")
    return int(sides[0]), int(sides[1])


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m sources.convert",
        description="Turn recordings of a public layout into images of one size with their labels.",
        epilog="example: python -m sources.convert state-farm recordings --size 128x128 --splits 0.7 0.15 0.15",
    )
    add_layout_flags(parser)
    parser.add_argument("out", type=Path, help="folder to write, which mustn't hold anything")
    parser.add_argument(
        "--size", type=image_size, default=(128, 128), help="width and height, cut around the middle (128x128)"
    )
    parser.add_argument("--every", type=integer(1, 10**6), default=30, help="of a video, every N-th frame (30)")
    parser.add_argument("--splits", type=float, nargs="+", help=f"shares of the drivers for {', '.join(SPLITS)}")
    parser.add_argument("--seed", type=integer(0, 2**63 - 1), default=0, help="of the drivers in each split (0)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    mapping, schema = chosen_mapping(args), schema_of(args.folder, args.schema)
    layout = chosen_layout(args, mapping) or recognised(args.folder)
    samples = read_layout(args.folder, layout, schema, mapping)
    splits: Sequence[str] = [""] * len(samples)
    if args.splits:
        if len(args.splits) > len(SPLITS):
            raise UsageError(f"--splits: {len(args.splits)} shares; expected up to {len(SPLITS)}")
        shares = dict(zip(SPLITS, args.splits, strict=False))
        splits = split_by_driver([sample.driver for sample in samples], shares, args.seed)
    dealt = [replace(sample, split=split) for sample, split in zip(samples, splits, strict=True)]
    counts, missing = convert(dealt, args.out, args.size, schema, args.every)
    for split, count in counts.items():
        drivers = len({sample.driver for sample in dealt if sample.split == split})
        print(f"{args.out / split}: {count} frames of {drivers} drivers")
    if missing:
        print(f"left out: {missing} labelled frames past the ends of their videos")
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command("sources.convert", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
