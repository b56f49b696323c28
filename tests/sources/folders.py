"""Labelled frames written to disk in the ways that sources are read from."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from sources.base import LabelledFrames
from sources.drivers import driver_keys
from sources.shards import ARRAYS, ShardDescription, ShardWriter


def write_shards(source: LabelledFrames, folder: Path) -> Path:
    """The frames of a source as a folder of one shard."""
    writer = ShardWriter(folder, ShardDescription(source.schema, source.landmarks, len(source.frames)))
    writer.write(0, {name: getattr(source, name) for name in ARRAYS})
    return folder


def write_images(source: LabelledFrames, folder: Path) -> Path:
    """The same as an imagefolder that names its own schema, and its drivers where they have names."""
    keys = driver_keys(source) if source.driver_names else None
    (folder / "frames").mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps({"schema": source.schema.to_dict()}))
    with (folder / "metadata.jsonl").open("w") as file:
        for index, condition in enumerate(source.schema.decode(source.conditions)):
            name = f"frames/{index}.png"
            Image.fromarray(source.frames[index].squeeze()).save(folder / name)
            driver = {"driver": keys[index]} if keys else {}
            file.write(json.dumps({"file_name": name, **driver, **condition}) + "\n")
    return folder
