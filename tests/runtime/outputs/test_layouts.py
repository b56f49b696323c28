"""Every layout holds the same records and images, and gives the same bytes however often it was interrupted."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import fsspec
import numpy as np
import pyarrow.parquet
import pytest
import webdataset
from PIL import Image

from contract.dataset import Description, Record, record
from contract.errors import Refused, Unavailable
from contract.field import Condition
from contract.frame_record import columns
from contract.frames import ImageShape
from contract.schemas import CABIN
from runtime.outputs.features import features_of
from runtime.outputs.images import CODECS, decode_image, encode_image
from runtime.outputs.reader import open_dataset
from runtime.outputs.storage import AddressStorage
from runtime.outputs.writer import FORMATS, open_writer

COUNT = 1010
"""One shard and a bit."""

SMALL = 12
IMAGE = ImageShape(3, 8, 8)
PLAN = {"cells": [{"set": {}, "grid": [], "each": COUNT}]}
DESCRIPTION = Description("b" * 64, "f" * 64, "c" * 64, CABIN, IMAGE, seed=3, count=COUNT, plan=PLAN, annotator="fp32")
CONTENT = encode_image(np.full((8, 8, 3), 7, np.uint8))

datasets.disable_progress_bars()


def small(layout: str, count: int = SMALL, **changes: Any) -> Description:
    plan = {"cells": [{"set": {}, "grid": [], "each": count}]}
    return replace(DESCRIPTION, layout=layout, count=count, plan=plan, **changes)


@lru_cache
def drawn(number: int) -> Condition:
    return CABIN.complete({}, np.random.default_rng(number))


def condition(index: int) -> Condition:
    return drawn(index % 50)


def frame(index: int, channels: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(index).integers(0, 256, (8, 8, channels), dtype=np.uint8)


def entry(index: int, codec: str = "png") -> Record:
    shown: dict[str, Any] = condition(index) | {"gaze_yaw": None}
    points = [{"name": "left", "x": 0.25, "y": 0.5}, {"name": "right", "x": 0.75, "y": 0.5}]
    reading = {"measured": shown, "agrees": index % 3 != 0, "landmarks": points}
    return record(index, 3, condition(index), reading, codec)


def fill(address: str, description: Description, last: int, step: int = 7, content: bytes | None = None) -> None:
    with open_writer(address, description) as writer:
        while writer.written < last:
            indices = range(writer.written, min(last, writer.written + step))
            for index in reversed(indices):
                writer.place(index, content or encode_image(frame(index), description.codec))
            writer.append([entry(index, description.codec) for index in indices])


def files(address: str) -> dict[str, bytes]:
    storage, root = fsspec.core.url_to_fs(address)
    return {name.removeprefix(root): storage.cat_file(name) for name in storage.find(root)}


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder of this machine, or an address that fsspec opens."""
    if request.param == "folder":
        yield str(tmp_path / "d")
        return
    yield f"memory://{tmp_path.name}/d"
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@pytest.mark.parametrize("layout", FORMATS)
def test_a_dataset_is_read_as_it_was_written(layout: str, place: str) -> None:
    fill(place, small(layout), SMALL)
    dataset = open_dataset(place)
    assert dataset.description == replace(small(layout), complete=True, disagreeing=4)
    found = list(dataset.samples())
    assert [sample.record for sample in found] == [entry(index) for index in range(SMALL)] == list(dataset.records())
    assert all((decode_image(sample.content) == frame(index)).all() for index, sample in enumerate(found))
    assert [sample.record["index"] for sample in dataset.samples({3, 9})] == [3, 9]


@pytest.mark.parametrize("layout", FORMATS)
def test_an_interrupted_dataset_ends_with_the_bytes_of_an_undisturbed_one(layout: str, place: str) -> None:
    description = replace(DESCRIPTION, layout=layout)
    for stop in (5, 998, 1003, COUNT):
        fill(place, description, stop, 50, CONTENT)
    fill(place + "-whole", description, COUNT, 64, CONTENT)
    assert files(place) == files(place + "-whole")


@pytest.mark.parametrize("layout", FORMATS)
def test_a_larger_count_extends_a_finished_dataset(layout: str, place: str) -> None:
    fill(place, small(layout), SMALL)
    fill(place, small(layout, 20), 20)
    fill(place + "-whole", small(layout, 20), 20)
    assert files(place) == files(place + "-whole")
    with pytest.raises(Refused, match="another dataset"):
        fill(place, small(layout), SMALL)


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
@pytest.mark.parametrize("damage", ["cut", "empty", "temporary"])
def test_a_broken_shard_is_written_again(layout: str, damage: str, tmp_path: Path) -> None:
    description, name = small(layout), "d/frames/00000." + ("tar" if layout == "webdataset" else layout)
    fill(str(tmp_path / "d"), description, SMALL)
    whole = files(str(tmp_path / "d"))
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "temporary":
        path.rename(path.with_name(path.name + ".tmp"))
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
        with pytest.raises(Refused, match="run the command that made the dataset again"):
            list(open_dataset(tmp_path / "d").samples())
    fill(str(tmp_path / "d"), description, SMALL)
    assert files(str(tmp_path / "d")) == whole


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_a_foreign_file_among_shards_is_refused_and_left_alone(layout: str, tmp_path: Path) -> None:
    fill(str(tmp_path / "d"), small(layout), SMALL)
    (tmp_path / "d/frames/notes.txt").write_text("mine")
    before = files(str(tmp_path / "d"))
    with pytest.raises(Refused, match="no shard"):
        open_writer(str(tmp_path / "d"), small(layout))
    assert files(str(tmp_path / "d")) == before


def plain(value: Any) -> Any:
    """JSON values of what a library loads."""
    return json.loads(json.dumps(value))


def test_hugging_face_loads_every_layout(tmp_path: Path) -> None:
    for layout in FORMATS:
        fill(str(tmp_path / layout), small(layout), SMALL)
    options: dict[str, Any] = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    folder = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "folder"), **options)
    tars = datasets.load_dataset("webdataset", data_files=str(tmp_path / "webdataset/frames/*.tar"), **options)
    tables = datasets.load_dataset("parquet", data_files=str(tmp_path / "parquet/frames/*.parquet"), **options)
    for number, (one, two, three) in enumerate(zip(folder, tars, tables, strict=True)):
        for row in (one, two, three):
            assert (np.asarray(row["image" if "image" in row else "png"]) == frame(number)).all()
        wanted = entry(number)
        assert plain({key: three[key] for key in wanted}) == wanted
        assert (
            plain({key: one[key] for key in wanted if key != "file_name"}) | {"file_name": wanted["file_name"]}
            == wanted
        )
        assert plain({key: two["json"][key] for key in wanted}) == wanted


def test_webdataset_loads_its_shards(tmp_path: Path) -> None:
    fill(str(tmp_path), small("webdataset"), SMALL)
    found = list(webdataset.WebDataset(str(tmp_path / "frames/00000.tar"), shardshuffle=False).decode("rgb8"))
    assert [sample["json"] for sample in found] == [entry(index) for index in range(SMALL)]
    assert all((sample["png"] == frame(index)).all() for index, sample in enumerate(found))


def test_parquet_columns_are_declared_and_do_not_depend_on_what_a_run_holds(tmp_path: Path) -> None:
    fill(str(tmp_path / "read"), small("parquet"), SMALL)
    bare = replace(small("parquet"), annotator=None)
    with open_writer(str(tmp_path / "bare"), bare) as writer:
        for index in range(SMALL):
            writer.place(index, CONTENT)
        writer.append([record(index, 3, condition(index)) for index in range(SMALL)])
    schemas = [pyarrow.parquet.read_schema(tmp_path / name / "frames/00000.parquet") for name in ("read", "bare")]
    assert schemas[0].equals(schemas[1], check_metadata=True)
    assert schemas[0].names == ["image", *(column.name for column in columns(CABIN))]
    both = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "*/frames/*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert both.num_rows == 2 * SMALL and isinstance(both.features["image"], datasets.Image)


ONLY_SUNGLASSES, REJECTED, PLAIN = RUNS = "sunglasses", "rejected", "plain"


def run_of(kind: str, address: Path, layout: str) -> None:
    """A dataset that hides eyes in every frame, one whose frames were drawn several times, or an ordinary one."""
    hidden = ("eye_openness", "gaze_yaw", "gaze_pitch") if kind == ONLY_SUNGLASSES else ()
    tried = {"attempt": 1, "tries": 2} if kind == REJECTED else {}
    about = small(layout, seed=RUNS.index(kind), reject_below=0.5 if tried else None)
    with open_writer(str(address / kind), about) as writer:
        for index in range(SMALL):
            asked = condition(index) | ({"accessory": "sunglasses"} if hidden else {})
            measured = {name: None if name in hidden else value for name, value in asked.items()}
            reading = {"measured": measured, "agrees": True, "landmarks": None} | tried
            writer.place(index, CONTENT)
            writer.append([record(index, about.seed, asked, reading)])


@pytest.mark.parametrize("layout", FORMATS)
def test_runs_that_hold_different_keys_load_as_one(layout: str, tmp_path: Path) -> None:
    for kind in RUNS:
        run_of(kind, tmp_path, layout)
    features = datasets.Features.from_dict(features_of(open_dataset(tmp_path / PLAIN).description))
    kind = "imagefolder" if layout == "folder" else layout
    found = {"data_dir": str(tmp_path)} if layout == "folder" else {"data_files": str(tmp_path / "*/frames/*")}
    loaded = datasets.load_dataset(
        kind, **found, split="train", features=features, cache_dir=str(tmp_path / "cache")
    ).to_list()
    rows = [row["json"] if layout == "webdataset" else row for row in loaded]
    rows.sort(key=lambda row: (row["seed"], row["index"]))
    asked = [condition(index)["eye_openness"] for index in range(SMALL)]
    assert [row["tries"] for row in rows] == [None] * SMALL + [2] * SMALL + [None] * SMALL
    assert [row["measured"]["eye_openness"] for row in rows] == [None] * SMALL + 2 * asked


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_codecs_hold_the_frame_and_its_mark(codec: str, channels: int) -> None:
    if channels not in CODECS[codec].channels:
        pytest.skip(f"{codec} has no images of {channels} channels")
    pixels = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8, 1), (8, 8, channels)).copy()
    content = encode_image(pixels, codec)
    found = decode_image(content, channels).astype(int)
    if CODECS[codec].lossless:
        assert (found == pixels).all()
    else:
        assert np.abs(found - pixels).max() <= JPEG_ERROR
    assert b"trainedAlgorithmicMedia" in content and encode_image(pixels, codec) == content


JPEG_ERROR = 4
"""What quality 95 may be off by on a smooth picture, of 255."""


@pytest.mark.parametrize("codec", CODECS)
def test_every_layout_takes_every_codec(codec: str, tmp_path: Path) -> None:
    for layout in FORMATS:
        fill(str(tmp_path / layout), small(layout, codec=codec), SMALL)
        found = next(open_dataset(tmp_path / layout).samples())
        assert found.record == entry(0, codec)
        with Image.open(io.BytesIO(found.content)) as image:
            assert image.format == codec.upper()


def test_a_member_with_holes_is_refused(tmp_path: Path) -> None:
    fill(str(tmp_path), small("webdataset"), SMALL)
    header = tarfile.TarInfo("00000000.png")
    header.size = 512
    header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    with tarfile.open(tmp_path / "frames/00000.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(header, io.BytesIO(b"0\n".ljust(512, b"\0")))
    with pytest.raises(Refused, match="is no file"):
        list(open_dataset(str(tmp_path)).samples())


def test_an_error_of_a_client_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentialsError(Exception):
        pass

    def ls(*_: object, **__: object) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    storage = AddressStorage("memory://bucket")
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "ls", ls)
    with pytest.raises(Unavailable, match="memory://bucket: NoCredentialsError: Unable to locate credentials"):
        storage.names()
