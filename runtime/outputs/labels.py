"""Labels of a finished dataset in formats that annotation tools read, in one file beside `dataset.json`.

    write_labels(open_dataset("frames"), "coco")          # coco.json: COCO keypoints, one driver an image
    write_labels(open_dataset("frames"), "openlabel")     # openlabel.json: ASAM OpenLABEL 1.0.0, one frame an image

Written from the records, piece by piece, so that memory doesn't grow with the dataset. Landmarks are the annotator's,
in pixels from the top left; conditions go along as attributes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from contract.dataset import Description, Record
from contract.errors import Unavailable, UsageError
from runtime.outputs.reader import StoredDataset

VISIBLE = 2
"""COCO's word for a keypoint that is labelled and in view; what hides one isn't known for a point by itself."""


def write_labels(dataset: StoredDataset, name: str) -> str:
    """Write the file where it isn't there yet; its name. Unavailable for COCO without landmarks."""
    file_name, write = f"{name}.json", LABELS[name]
    if not dataset.storage.size(file_name):
        with dataset.storage.create(file_name) as file:
            write(file, dataset)
    return file_name


def _write_coco(file: IO[bytes], dataset: StoredDataset) -> None:
    description = dataset.description
    first = next(dataset.records(), None)
    if first is None or not first["landmarks"]:
        raise Unavailable("--labels-as coco: no landmarks; take a bundle with an annotator that finds some")
    names = [point["name"] for point in first["landmarks"]]
    category = {"id": 1, "name": "driver", "supercategory": "person", "keypoints": names, "skeleton": []}
    head = {"info": {"description": "synthetic driver frames"}, "licenses": [], "categories": [category]}
    width, height = description.image.width, description.image.height
    images = (
        {"id": place, "file_name": entry["file_name"], "width": width, "height": height}
        for place, entry in enumerate(dataset.records(), 1)
    )
    annotations = (_keypoints(place, entry, description) for place, entry in enumerate(dataset.records(), 1))
    _write_object(file, head, {"images": images, "annotations": annotations})


def _keypoints(place: int, entry: Record, description: Description) -> dict[str, Any]:
    """The driver of one image, boxed by the landmarks."""
    points = [_pixels(point, description) for point in entry["landmarks"]]
    left, top = min(x for x, _ in points), min(y for _, y in points)
    width, height = max(x for x, _ in points) - left, max(y for _, y in points) - top
    return {
        "id": place,
        "image_id": place,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [left, top, round(width, 2), round(height, 2)],
        "area": round(width * height, 2),
        "keypoints": [number for x, y in points for number in (x, y, VISIBLE)],
        "num_keypoints": len(points),
        "attributes": {name: entry[name] for name in description.schema.names},
    }


def _write_openlabel(file: IO[bytes], dataset: StoredDataset) -> None:
    description = dataset.description
    head = {
        "metadata": {"schema_version": "1.0.0", "name": "synthetic driver frames"},
        "objects": {"0": {"name": "driver", "type": "Driver"}},
        "frame_intervals": [{"frame_start": 0, "frame_end": description.count - 1}],
    }
    frames = ((str(place), _frame(entry, description)) for place, entry in enumerate(dataset.records()))
    file.write(b'{"openlabel": ')
    _write_object(file, head, {}, {"frames": frames})
    file.write(b"}\n")


def _frame(entry: Record, description: Description) -> dict[str, Any]:
    data: dict[str, list[dict[str, Any]]] = {
        "text": [{"name": f.name, "val": entry[f.name]} for f in description.schema.fields if f.is_class],
        "num": [{"name": f.name, "val": entry[f.name]} for f in description.schema.fields if not f.is_class],
    }
    if entry["landmarks"]:
        points = ((point["name"], _pixels(point, description)) for point in entry["landmarks"])
        data["point2d"] = [{"name": name, "val": list(pixels)} for name, pixels in points]
    properties = {"file_name": entry["file_name"], "index": entry["index"], "seed": str(entry["seed"])}
    objects = {"0": {"object_data": {kind: values for kind, values in data.items() if values}}}
    return {"frame_properties": properties, "objects": objects}


def _pixels(point: dict[str, Any], description: Description) -> tuple[float, float]:
    return round(point["x"] * description.image.width, 2), round(point["y"] * description.image.height, 2)


def _write_object(
    file: IO[bytes],
    head: dict[str, Any],
    lists: dict[str, Iterable[Any]],
    objects: dict[str, Iterator[tuple[str, Any]]] | None = None,
) -> None:
    """A JSON object of which the long values are written an item at a time."""
    file.write(json.dumps(head).encode()[:-1])
    for name, items in lists.items():
        file.write(f', "{name}": ['.encode())
        for number, item in enumerate(items):
            file.write((b",\n" if number else b"\n") + json.dumps(item).encode())
        file.write(b"]")
    for name, pairs in (objects or {}).items():
        file.write(f', "{name}": {{'.encode())
        for number, (key, item) in enumerate(pairs):
            file.write((b",\n" if number else b"\n") + f"{json.dumps(key)}: {json.dumps(item)}".encode())
        file.write(b"}")
    file.write(b"}")


LABELS: dict[str, Callable[[IO[bytes], StoredDataset], None]] = {"coco": _write_coco, "openlabel": _write_openlabel}
"""By the name of `--labels-as`."""


def check_labels(names: Iterable[str], landmarks: bool) -> None:
    """UsageError where labels need landmarks and nobody finds any."""
    if "coco" in names and not landmarks:
        raise UsageError("--labels-as coco: needs the annotator's landmarks; take a bundle whose annotator finds some")
