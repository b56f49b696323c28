"""The page: one HTML file with styles, script and pictures inside, which opens nothing else.

    html = render(dataset, results=read_results(Path("benchmarks/results")), frames=300)

A content security policy in the page forbids any request, so that what is shown is what the file holds. Whatever comes
from the dataset (names of fields, values, paths) is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from audit.persons import Grouping
from audit.provenance.check import ProvenanceReport, check
from audit.records import DatasetTally, Figure, tally
from audit.report.gallery import Gallery, collect
from audit.report.results import NONE, Result, number, percent, with_range
from contract.dataset import Dataset
from contract.errors import Refused, Unavailable
from contract.field import Field

BARS = 10
"""Parts of a number's range that are counted."""

SECTIONS = {"fidelity": "Fidelity", "privacy": "Privacy", "utility": "Utility", "speed": "Speed"}

COMMANDS = {
    "fidelity": "python -m audit.fidelity BUNDLE -o build/fidelity",
    "privacy": "python -m audit.privacy BUNDLE --members FOLDER --non-members FOLDER",
    "utility": "python -m audit.utility --json",
    "speed": "pytest benchmarks",
}
"""What measures each, where the page has no result of it."""

QUESTIONS = {
    "fidelity": "How often do the model's frames show what was asked for?",
    "privacy": "Does the model give away whom it was trained on?",
    "utility": "Does a detector get better when it is trained on these frames?",
    "speed": "How fast are frames drawn?",
}


def render(dataset: Dataset, results: Sequence[Result], frames: int, title: str | None = None) -> str:
    """The whole page as HTML; Refused for a dataset without frames, Unavailable without Jinja2."""
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise Unavailable(f"{error.name} isn't installed; run: pip install '.[audit]'") from error
    gallery, found = collect(dataset, frames), tally(dataset)
    if found.all.frames != dataset.description.count:
        raise Refused(
            f"{dataset.folder}: {found.all.frames} records of {dataset.description.count}; let it finish first"
        )
    marks = check(dataset.frame_path(record) for record in dataset.records())
    here = files("audit.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"figure": figure, "percent": percent, "number": number}
    environment.tests["empty"] = lambda value: not value
    template = environment.from_string((here / "page.html.j2").read_text())
    return template.render(
        title=title or dataset.folder.resolve().name,
        style=Markup((here / "page.css").read_text()),
        script=Markup((here / "page.js").read_text()),
        data=Markup(script_data(gallery)),
        gallery=gallery,
        filters=_filters(gallery),
        description=dataset.description,
        tally=found,
        tiles=_tiles(found, marks, results),
        facts=_facts(dataset),
        histograms=[_histogram(each, found) for each in gallery.schema.fields],
        marks=marks,
        results={kind: [result for result in results if result.kind == kind] for kind in SECTIONS},
        sections=SECTIONS,
        commands=COMMANDS,
        questions=QUESTIONS,
    )


def script_data(gallery: Gallery) -> str:
    """What the script filters by, as JSON that can't end its element."""
    pairs = [{"rows": a, "columns": b, "counts": counts} for (a, b), counts in gallery.together.items()]
    values = {each.name: each.values for each in gallery.classes}
    data = {"values": values, "frames": [card.to_dict() for card in gallery.cards], "pairs": pairs}
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def figure(found: Figure, unit: str | None = None) -> str:
    """A figure with its interval: a share as a percentage where there is no unit."""
    if found.value is None:
        return NONE
    return with_range(found.value, (found.low, found.high), percent if unit is None else number)


def _filters(gallery: Gallery) -> list[dict[str, Any]]:
    return [
        {
            "field": each,
            "title": readable(each.name),
            "low": each.low,
            "high": each.high,
            "step": (each.high - each.low) / 100,
            "unit": {"degrees": "°"}.get(each.unit, each.unit),
        }
        for each in gallery.schema.fields
    ]


def readable(name: str) -> str:
    """`eye_openness` as `eye openness`."""
    return name.replace("_", " ")


def _tiles(found: DatasetTally, marks: ProvenanceReport, results: Sequence[Result]) -> list[dict[str, Any]]:
    """The figures at the top: value, what it is, and a note."""
    agreement = found.all.agreement()
    note = agreement.reason or f"95 % interval {percent(agreement.low or 0.0, '')} to {percent(agreement.high or 0.0)}"
    shown = NONE if agreement.value is None else percent(agreement.value)
    signed = marks.manifests_unread or f"{marks.signed} signed (C2PA)"
    tiles = [
        {"value": f"{found.all.frames:,}", "title": "frames", "note": ", ".join(sorted(found.origins))},
        {"value": shown, "title": "show every class that was asked for", "note": note},
        {"value": f"{marks.marked:,}", "title": "files marked as synthetic (IPTC)", "note": signed},
    ]
    heads = [(result, result.headline) for result in results if result.headline]
    return tiles + [{"value": head[0], "title": head[1], "note": result.file} for result, head in heads]


def _facts(dataset: Dataset) -> list[tuple[str, str]]:
    about = dataset.description
    budget, reason = about.privacy
    rejected = "" if about.rejected is None else f"{about.rejected} (below {about.reject_below:g})"
    facts = {
        "schema": about.schema.name,
        "seed": str(about.seed),
        "plan": json.dumps(about.plan),
        "drawn by": f"{about.backend}, {about.precision}",
        "read by": f"annotator, {about.annotator}" if about.annotator else "no annotator",
        "drawn again": rejected or "nothing",
        "differential privacy": str(budget) if budget else f"none: {reason}",
        "checkpoint (sha256)": about.checkpoint or "unknown",
        "bundle": about.bundle,
        "software": about.software,
    }
    return list(facts.items())


def _histogram(each: Field, found: DatasetTally) -> Mapping[str, Any]:
    counts = found.all.asked[each.name]
    names = Grouping(each, BARS).labels
    unit = {"degrees": "°"}.get(each.unit, each.unit)
    return {
        "field": each,
        "title": readable(each.name) + f" ({unit})" * bool(unit and not each.is_class),
        "largest": max(1, *counts.values()),
        "bars": [(name, counts[name]) for name in names],
    }
