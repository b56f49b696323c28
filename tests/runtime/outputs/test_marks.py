"""The mark of every image, read by ExifTool after other programs have loaded the dataset."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import datasets
import pytest
import webdataset

from contract.frame_record import SUFFIXES
from contract.provenance import digital_source
from runtime.generate import main
from runtime.outputs.images import CODECS

pytestmark = pytest.mark.skipif(not shutil.which("exiftool"), reason="ExifTool isn't installed")

COUNT = 4

datasets.disable_progress_bars()


def marks(images: Mapping[str, bytes], folder: Path) -> list[str | None]:
    """What ExifTool reads from each image: the IPTC digital source type, and no complaint about the file."""
    folder.mkdir()
    for name, content in images.items():
        (folder / name).write_bytes(content)
    command = ["exiftool", "-json", "-warning", "-error", "-XMP-iptcExt:DigitalSourceType", str(folder)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert not [entry for entry in found if {"Warning", "Error"} & set(entry)]
    return [entry.get("DigitalSourceType") for entry in found]


@pytest.mark.parametrize("codec", CODECS)
def test_exiftool_reads_the_mark_of_every_image_that_a_loader_hands_out(
    codec: str, bundle: Path, tmp_path: Path
) -> None:
    for layout in ("folder", "webdataset", "parquet"):
        options = ["-n", str(COUNT), "--backend", "cpu", "--codec", codec, "--format", layout]
        assert main([str(bundle), "-o", str(tmp_path / layout), *options]) == 0
    suffix, options = SUFFIXES[codec], {"split": "train", "cache_dir": str(tmp_path / "cache")}
    files = (tmp_path / "folder/frames").rglob(f"*.{suffix}")
    samples = webdataset.WebDataset(str(tmp_path / "webdataset/frames/00000.tar"), shardshuffle=False)
    table = datasets.load_dataset("parquet", data_files=str(tmp_path / "parquet/frames/*.parquet"), **options)
    rows = table.cast_column("image", datasets.Image(decode=False))
    loaded = {
        "folder": {path.name: path.read_bytes() for path in files},
        "webdataset": {f"{sample['__key__'].rsplit('/')[-1]}.{suffix}": sample[suffix] for sample in samples},
        "parquet": {f"{place}.{suffix}": row["image"]["bytes"] for place, row in enumerate(rows)},
    }
    for layout, images in loaded.items():
        assert marks(images, tmp_path / f"{layout}-images") == [digital_source("generated")] * COUNT
