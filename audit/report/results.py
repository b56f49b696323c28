"""Tables of figures that other commands measured: fidelity, utility, speed.

    for found in read_results(Path("benchmarks/results")): found.kind, found.tables

A file is recognised by what it holds, not by its name. Figures are shown as they stand in the file, with the file's
name and whatever it says of model and machine: they are the model's, and not of the frames on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import Refused
from contract.files import read_json

NONE = "\u2013"
"""A dash in place of a figure that isn't there."""

UTILITY_METRICS = ("accuracy", "recall", "precision", "macro_f1", "worst_class_recall")
FIDELITY_METRICS = ("mean_class_accuracy", "fd_dms", "kd_dms", "precision_dms", "recall_dms", "coverage_dms")


@dataclass(frozen=True)
class Table:
    """A table with a title."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False
    """Whether it is long and opened by a click."""


@dataclass(frozen=True)
class Result:
    """What one file holds."""

    kind: str
    """`fidelity`, `utility` or `speed`: the section that it goes to."""

    file: str
    about: str
    """Of which model, domain or machine."""

    headline: tuple[str, str] | None
    """A figure and what it is."""

    tables: Sequence[Table]


def read_results(folder: Path) -> list[Result]:
    """Every result in a folder of JSON files; those of other kinds are passed over. Refused for a damaged one."""
    if not folder.is_dir():
        raise Refused(f"{folder}: no such folder; expected one with the JSON results of audits and benchmarks")
    return [found for path in sorted(folder.glob("*.json")) if (found := read_result(path))]


def read_result(path: Path) -> Result | None:
    """One file, None where it is no result that the page knows."""
    data = read_json(path)
    for matches, read in READERS:
        if matches(data):
            try:
                return read(path.name, data)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                raise Refused(f"{path}: {type(error).__name__} {error} in a result; measure it again") from error
    return None


def _fidelity(file: str, data: Mapping[str, Any]) -> Result:
    rows = [["held-out frames, read by the same annotator", *_fidelity_cells(data["annotator"])]]
    rows += [[_run_name(run), *_fidelity_cells(run)] for run in data["runs"]]
    rows.append(["labels shuffled: chance", *_fidelity_cells(data["shuffled"])])
    fields = list(data["annotator"]["class_accuracy"])
    by_field = [["held-out frames", *_field_cells(data["annotator"], fields)]]
    by_field += [[_run_name(run), *_field_cells(run, fields)] for run in data["runs"]]
    tables = [
        Table("Runs", ["run", "frames", "classes right", "FD", "KD", "precision", "recall", "coverage"], rows),
        Table("Class by class", ["run", *fields], by_field, folded=True),
    ]
    models = sorted({run["model"] for run in data["runs"]})
    about = f"{', '.join(models)}; {data['frames']} frames of seed {data['seed']}, 95 % intervals"
    best = max(data["runs"], key=lambda run: run["mean_class_accuracy"])
    return Result("fidelity", file, about, (percent(best["mean_class_accuracy"]), "classes right, best run"), tables)


def _fidelity_cells(item: Mapping[str, Any]) -> Iterator[str]:
    yield f"{item['frames']}"
    for name in FIDELITY_METRICS:
        text = percent if name == FIDELITY_METRICS[0] else number
        yield with_range(item.get(name), item["intervals"].get(name), text)


def _field_cells(item: Mapping[str, Any], fields: Sequence[str]) -> Iterator[str]:
    bounds = item["intervals"]["class_accuracy"]
    return (with_range(item["class_accuracy"][name], bounds[name], percent) for name in fields)


def _run_name(run: Mapping[str, Any]) -> str:
    guidance = f", guidance {run['guidance']:g}" if run.get("guidance") not in (None, 1, 1.0) else ""
    return f"{run['model']}, {run['sampler']} {run['steps']} steps, {run['precision']}{guidance}"


def _utility(file: str, data: Mapping[str, Any]) -> Result:
    rows = [
        [
            name,
            *(with_range(arm[key]["mean"], (arm[key]["low"], arm[key]["high"]), percent) for key in UTILITY_METRICS),
        ]
        for name, arm in data["arms"].items()
    ]
    head = ["trained on", *(key.replace("_", " ") for key in UTILITY_METRICS)]
    seeds = data["seeds"]
    about = f"test domain: {data['domain']}; {len(seeds) if isinstance(seeds, list) else seeds} seeds"
    name, best = max(data["arms"].items(), key=lambda item: item[1]["worst_class_recall"]["mean"])
    headline = (percent(best["worst_class_recall"]["mean"]), f"worst class recall, best arm ({name})")
    return Result("utility", file, about, headline, [Table("Arms", head, rows)])


def _speed(file: str, data: Mapping[str, Any]) -> Result:
    head = ["engine", "precision", "frames at once", "frames a second", "latency p50 (ms)", "p99 (ms)"]
    rows = [_speed_row(row) for row in sorted(data["rows"], key=lambda row: (row["name"], row["batch"]))]
    own = [row for row in rows if row[0].startswith("ours")]
    peers = [row for row in rows if not row[0].startswith("ours")]
    ratios = [[name, f"{found['value']:.2f}"] for name, found in data["ratios"].items()]
    tables = [
        Table("This runtime", head, own),
        Table("Others on the same machine", head, peers, folded=True),
        Table("Ratios within the run", ["ratio", "value"], ratios, folded=True),
    ]
    machine = data["machine"]
    about = f"{machine['cores']} cores of {machine['cpu']}; GPU: {machine['gpu'] or 'none'}"
    fastest = max(
        (row for row in data["rows"]), key=lambda row: (row["name"].startswith("ours"), row["frames_per_second"])
    )
    headline = (
        f"{fastest['frames_per_second']:.0f}",
        f"frames a second, {fastest['precision']}, {fastest['batch']} at once",
    )
    return Result("speed", file, about, headline, tables)


def _speed_row(row: Mapping[str, Any]) -> list[str]:
    latency = row.get("latency_ms") or {}
    figures = [row["frames_per_second"], latency.get("p50"), latency.get("p99")]
    return [row["name"], row["precision"], f"{row['batch']}", *map(number, figures)]


Reader = tuple[Callable[[Mapping[str, Any]], bool], Callable[[str, Mapping[str, Any]], Result]]

READERS: Sequence[Reader] = (
    (lambda data: str(data.get("format")).startswith("dms-edge/fidelity@"), _fidelity),
    (lambda data: {"domain", "seeds", "arms"} <= set(data), _utility),
    (lambda data: {"machine", "rows", "ratios"} <= set(data), _speed),
)
"""How a result is recognised, and what reads it."""


def percent(value: float, sign: str = "\u00a0%") -> str:
    """A fraction as a percentage, with a space that doesn't break."""
    return f"{100 * value:.1f}{sign}"


def number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def with_range(
    value: float | None, bounds: Sequence[float | None] | None, text: Callable[[float], str] = number
) -> str:
    """`97.0 % (96.7 to 97.3)`, or a dash."""
    if value is None:
        return NONE
    if not bounds or bounds[0] is None or bounds[1] is None:
        return text(value)
    low, high = (text(bound).removesuffix("\u00a0%") for bound in bounds if bound is not None)
    return f"{text(value)} ({low} to {high})"
