"""Croissant metadata (MLCommons Croissant 1.0, with its vocabulary for responsible AI): the dataset for machines.

    write_whole(folder / "croissant.json", json.dumps(croissant(dataset, card, columns(schema), description)).encode())

A loader reads records with their pictures from it: `mlcroissant.Dataset(jsonld="…/croissant.json").records("frames")`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contract.dataset import METADATA, Dataset
from contract.files import sha256_of
from contract.frame_record import Column

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

KINDS = {
    "string": "sc:Text",
    "float64": "sc:Float",
    "int64": "sc:Integer",
    "uint64": "sc:Integer",
    "bool": "sc:Boolean",
}
LICENSES = "https://spdx.org/licenses/{}.html"
RECORDS = "frames"
BASE_NAME = "^(?:.*/)?([^/]+)$"
"""What a record's path and a file have in common; it is unique, since it holds the index."""


def croissant(dataset: Dataset, card: Mapping[str, Any], columns: Sequence[Column], description: str) -> dict[str, Any]:
    """The whole JSON-LD document of a finished dataset in the folder format."""
    license = card["stated"]["license"]["value"]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": card["name"],
        "description": description,
        "version": "1.0.0",
        **({"license": LICENSES.format(license)} if license else {}),
        **_responsible(card),
        "distribution": [_metadata(dataset), _images(card)],
        "recordSet": [_record_set(columns)],
    }


def _responsible(card: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the vocabulary for responsible AI: those that were stated or follow from the records."""
    stated = {name: entry["value"] for name, entry in card["stated"].items()}
    origins = " and ".join(sorted(card["origins"]))
    found = {
        "rai:dataUseCases": stated["purpose"],
        "rai:dataReleaseMaintenancePlan": stated["retention"],
        "rai:dataCollection": f"Synthetic frames ({origins}); no camera took them.",
        "rai:dataCollectionType": "Others",
    }
    return {key: value for key, value in found.items() if value}


def _metadata(dataset: Dataset) -> dict[str, Any]:
    path = dataset.folder / METADATA
    return {
        "@type": "cr:FileObject",
        "@id": "metadata",
        "name": METADATA,
        "contentUrl": METADATA,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/jsonlines",
        "sha256": sha256_of(path),
    }


def _images(card: Mapping[str, Any]) -> dict[str, Any]:
    kind = card["image"]["media_type"]
    suffix = {"image/jpeg": "jpg"}.get(kind, kind.removeprefix("image/"))
    return {
        "@type": "cr:FileSet",
        "@id": "images",
        "name": "images",
        "encodingFormat": kind,
        "includes": [f"frames/*.{suffix}", f"frames/*/*.{suffix}"],
    }


def _record_set(columns: Sequence[Column]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "description": "One record a frame.",
        "key": {"@id": f"{RECORDS}/picture"},
        "field": list(_fields(columns)),
    }


def _fields(columns: Sequence[Column]) -> Iterator[dict[str, Any]]:
    name_of = _of_images("filename")
    path = _of_records("file_name") | {"transform": {"regex": BASE_NAME}}
    yield _field("picture", "sc:Text", "file name of the picture", path) | {"references": name_of}
    yield _field("image", "sc:ImageObject", "the picture", _of_images("content"))
    for column in columns:
        if not column.children:  # a loader reads no struct out of a column of JSON Lines
            yield _field(column.name, KINDS[column.kind], column.meaning, _of_records(column.name))


def _of_images(prop: str) -> dict[str, Any]:
    return {"fileSet": {"@id": "images"}, "extract": {"fileProperty": prop}}


def _of_records(column: str) -> dict[str, Any]:
    return {"fileObject": {"@id": "metadata"}, "extract": {"column": column}}


def _field(name: str, kind: str, meaning: str, source: Mapping[str, Any]) -> dict[str, Any]:
    common = {"@type": "cr:Field", "@id": f"{RECORDS}/{name}", "name": name, "description": meaning}
    return common | {"dataType": kind, "source": source}
