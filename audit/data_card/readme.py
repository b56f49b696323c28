"""The data card as README.md: front matter for the Hugging Face Hub, then sections for people.

text = readme(card, columns(schema))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contract.dataset import METADATA
from contract.errors import Unavailable
from contract.frame_record import Column

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
"""Where the Hub's size categories begin and end."""

SIZE_NAMES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")

Row = Sequence[object]


def readme(card: Mapping[str, Any], columns: Sequence[Column]) -> str:
    """The whole file; Unavailable without PyYAML."""
    try:
        import yaml
    except ImportError as error:
        raise Unavailable("PyYAML isn't installed; run: pip install '.[audit]'") from error
    front = yaml.safe_dump(front_matter(card, columns), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n".join(_sections(card))


def front_matter(card: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    """What the Hub reads: licence, size, declared features, and where the records are."""
    features = [{"name": "image", "dtype": "image"}, *map(_feature, columns)]
    return {
        "license": (card["stated"]["license"]["value"] or "unknown").lower(),
        "pretty_name": card["name"],
        "size_categories": [size_category(card["frames"])],
        "task_categories": ["image-classification"],
        "tags": ["synthetic", "driver-monitoring", *sorted(card["origins"])],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": [METADATA, "frames/**"]}]}],
        "dataset_info": {
            "features": features,
            "splits": [{"name": "train", "num_bytes": card["bytes"], "num_examples": card["frames"]}],
        },
    }


def summary(card: Mapping[str, Any]) -> str:
    """One sentence."""
    image, origins = card["image"], " and ".join(sorted(card["origins"]))
    return (
        f"{card['frames']} synthetic ({origins}) driver frames of {image['width']} x {image['height']} pixels "
        f"with labels of the schema {card['source']['schema']}; no camera took them."
    )


def size_category(frames: int) -> str:
    """`n<1K`, `1K<n<10K` …, `n>1B`."""
    above = sum(frames >= size for size in SIZES)
    if above == 0:
        return f"n<{SIZE_NAMES[0]}"
    return f"n>{SIZE_NAMES[-1]}" if above == len(SIZES) else f"{SIZE_NAMES[above - 1]}<n<{SIZE_NAMES[above]}"


def _feature(column: Column) -> dict[str, Any]:
    if column.children:
        return {"name": column.name, column.kind: [_feature(child) for child in column.children]}
    return {"name": column.name, "dtype": column.kind}


def _sections(card: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {card['name']}\n\n{summary(card)}\n"
    yield 'Every figure below was measured on these files; what wasn\'t measured is "none", with the reason.\n'
    yield "## Made by\n"
    yield _table(("what", "value"), [(name, f"`{value}`") for name, value in card["source"].items()])
    yield "## Purpose and retention\n"
    stated = card["stated"].items()
    yield _table(("what", "stated"), [(name, _or_reason(entry["value"], entry["reason"])) for name, entry in stated])
    yield "## Do the frames show what their labels say?\n"
    yield _table(("figure", "value", "95 % interval", "frames"), list(_agreement(card)))
    yield "The bundle's annotator read them. It errs as well, and isn't an independent witness.\n"
    yield "## By person\n"
    yield from _persons(card["persons"])
    yield "## Frames of each condition\n"
    conditions = card["conditions"].items()
    counts = [(name, ", ".join(f"{key}: {count}" for key, count in values.items())) for name, values in conditions]
    yield _table(("field", "frames asked for"), counts)
    yield "## Provenance\n"
    yield _table(("what", "files"), list(_provenance(card["provenance"])))
    yield "## Privacy\n"
    privacy = card["privacy"]
    yield _table(
        ("what", "value"), [(key, _or_reason(privacy[key], privacy["reason"])) for key in ("epsilon", "delta", "unit")]
    )


def _agreement(card: Mapping[str, Any]) -> Iterator[Row]:
    yield ("every class as asked for", *_figure(card["agreement"]))
    for name, figure in card["class_agreement"].items():
        yield (name, *_figure(figure))
    for name, figure in card["mean_errors"].items():
        yield (f"{name}: mean error" + f" ({figure['unit']})" * bool(figure["unit"]), *_figure(figure))
    rejected = card["rejected"]
    yield ("frames drawn and not kept", _or_reason(rejected, "frames weren't drawn again"), "", "")


def _persons(persons: Mapping[str, Any]) -> Iterator[str]:
    if persons["value"] is None:
        yield f"None: {persons['reason']}.\n"
        return
    for name, groups in persons["value"].items():
        fields = list(next(iter(groups.values()))["class_agreement"])
        figures = {group: (found["agreement"], *found["class_agreement"].values()) for group, found in groups.items()}
        rows = [(group, groups[group]["frames"], *map(_with_interval, shown)) for group, shown in figures.items()]
        yield _table((name, "frames", "every class", *fields), rows)


def _provenance(found: Mapping[str, Any]) -> Iterator[Row]:
    yield ("files", found["files"])
    yield ("marked as synthetic (IPTC digital source type)", found["marked"])
    unread = found["manifests_unread"]
    yield ("with a valid C2PA manifest", _or_reason(found["signed"], unread))
    yield ("of these by a trusted signer", _or_reason(found["trusted"], unread))
    yield ("damaged, or with a manifest that doesn't hold", found["invalid"])


def _figure(figure: Mapping[str, Any]) -> tuple[str, str, int]:
    if figure["value"] is None:
        return f"none: {figure['reason']}", "", figure["frames"]
    return f"{figure['value']:.4g}", f"{figure['low']:.4g} to {figure['high']:.4g}", figure["frames"]


def _with_interval(figure: Mapping[str, Any]) -> str:
    return "none" if figure["value"] is None else f"{figure['value']:.3g} [{figure['low']:.3g}, {figure['high']:.3g}]"


def _or_reason(value: object, reason: str | None) -> str:
    return f"none: {reason}" if value is None else str(value)


def _table(head: Sequence[str], rows: Sequence[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
