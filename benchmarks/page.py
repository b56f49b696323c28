"""One page of a run: its ratios, its rows, and plots of them.

write_page(Path("build/benchmarks"), summary)            # index.html and its pictures
"""

from __future__ import annotations

import html
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from tabulate import tabulate

from contract.files import write_whole

OURS = ("#0b6e4f", "#08a045", "#1f77b4", "#7ab8e0")
PEERS = ("#444b6e", "#708b75", "#9a879d", "#bf8b67", "#b0413e", "#8f95d3")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f23 }
h2 { font-size: 1.1rem; margin-top: 2.2rem } p { color: #57606a } img { max-width: 100% }
table { border-collapse: collapse; font-size: 13px } th, td { padding: .25rem .7rem }
th { border-bottom: 2px solid #cfd7df } tr:nth-child(even) { background: #f4f6f8 } em { color: #b0413e }
"""

COLUMNS = ("contender", "batch", "frames/s", "p50 ms", "p90 ms", "p95 ms", "spread", "load s", "first s")
COLUMNS = (*COLUMNS, "opened MiB", "peak MiB", "frames")


def write_page(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Write `index.html` and the pictures beside it."""
    plots: dict[str, tuple[str, Callable[[Axes], None]]] = {
        "latency": ("Latency of a batch", lambda axes: _latency(axes, summary["rows"])),
        "steps": ("Throughput against steps", lambda axes: _steps(axes, summary["steps"])),
        "operators": ("Time in the network by operator, ONNX Runtime", lambda axes: _bars(axes, summary["operators"])),
    }
    if summary.get("soak"):
        plots["soak"] = ("A long run to disk", lambda axes: _soak(axes, summary["soak"]["windows"]))
    for name, (_, plot) in plots.items():
        write_whole(folder / f"{name}.png", _render(plot))
    pictures = "\n".join(f'<h2>{title}</h2><img src="{name}.png" alt="{title}">' for name, (title, _) in plots.items())
    about = summary["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    machine = f"{about['cpu']}, {about['cores']} cores, {about['system']}, Python {about['python']}; {versions}"
    shares = ", ".join(f"{precision} {share:.1%}" for precision, share in summary["host_share"].items())
    absent = ", ".join(summary["not_measured"]) or "nothing"
    content = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>dms-edge benchmarks</title>
<style>{STYLE}</style><h1>How fast it draws</h1><p>{html.escape(machine)}</p>
<h2>Ratios within this run</h2>{_ratios(summary["ratios"])}
<p>Time outside the engine, divided by the time inside it, one batch at a time: {shares}.
Not measured here: {html.escape(absent)}. Energy: {html.escape(about["energy"])}.</p>
{pictures}
<h2>Every row</h2>{_rows(summary["rows"])}</html>"""
    write_whole(folder / "index.html", content.encode())
    return folder / "index.html"


def _ratios(ratios: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, ratio in ratios.items():
        short = ratio["goal"] is not None and ratio["value"] < ratio["goal"]
        each = ", ".join(f"{batch}: {value:.2f}" for batch, value in (ratio.get("by_batch") or {}).items())
        value = f"{ratio['value']:.3g}"
        rows.append([name, f"<em>{value}</em>" if short else value, ratio["goal"], each])
    return tabulate(rows, ("ratio", "value", "goal", "by batch"), "unsafehtml", colalign=("left", "right"))


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [
            f"<b>{row['name']}</b>" if row["name"].startswith("ours") else row["name"],
            row["batch"],
            f"{row['frames_per_second']:.1f}",
            *(None if row["latency_ms"][p] is None else f"{row['latency_ms'][p]:.1f}" for p in ("p50", "p90", "p95")),
            f"{row['spread']:.0%}",
            *(None if row[key] is None else f"{row[key]:.2f}" for key in ("load_s", "first_batch_s")),
            *(None if row[key] is None else f"{row[key]:.0f}" for key in ("opened_mib", "peak_mib")),
            "same" if row["same_frames"] else "differ",
        ]
        for row in rows
    ]
    return tabulate(cells, COLUMNS, "unsafehtml", disable_numparse=True, colalign=("left", *["right"] * 10))


def _render(plot: Callable[[Axes], None]) -> bytes:
    figure, axes = plt.subplots(figsize=(9, 4.6), dpi=110, layout="tight")
    plot(axes)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def _latency(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    colours = {True: itertools.cycle(OURS), False: itertools.cycle(PEERS)}
    for name in dict.fromkeys(row["name"] for row in rows):
        own = name.startswith("ours")
        points = [(row["batch"], row["latency_ms"]["p50"]) for row in rows if row["name"] == name]
        axes.plot(*zip(*points, strict=True), "o-" if own else ".--", label=name, color=next(colours[own]))
    _label(axes, "frames in a batch", "median milliseconds", sorted({row["batch"] for row in rows}))
    axes.set_yscale("log")
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _steps(axes: Axes, steps: Sequence[Mapping[str, Any]]) -> None:
    for label in dict.fromkeys(row["name"] for row in steps):
        points = sorted((row["steps"], row["frames_per_second"]) for row in steps if row["name"] == label)
        axes.plot(*zip(*points, strict=True), "o-", label=label)
    _label(axes, "sampling steps", "frames a second", sorted({row["steps"] for row in steps}))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _label(axes: Axes, x: str, y: str, ticks: Sequence[int]) -> None:
    """Powers of two across, each measured point with a tick of its own."""
    axes.set(xlabel=x, ylabel=y, xscale="log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()


def _bars(axes: Axes, operators: Mapping[str, Mapping[str, float]]) -> None:
    """Operators that take less than 50 microseconds everywhere are left out."""
    names = dict.fromkeys(name for seconds in operators.values() for name, taken in seconds.items() if taken > 5e-5)
    height = 0.8 / len(operators)
    for place, (precision, seconds) in enumerate(operators.items()):
        offsets = [row + place * height for row in range(len(names))]
        axes.barh(offsets, [seconds.get(name, 0.0) * 1e3 for name in names], height, label=precision)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(names))], names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of one step")
    axes.legend(frameon=False)


def _soak(axes: Axes, windows: Sequence[Mapping[str, Any]]) -> None:
    frames = list(itertools.accumulate(window["frames"] for window in windows))
    mebibytes = [window["resident"] / 2**20 for window in windows]
    axes.plot(frames, [window["frames"] / window["seconds"] for window in windows], OURS[0], label="frames a second")
    axes.set(xlabel="frames written", ylabel="frames a second", ylim=(0, None))
    memory = axes.twinx()
    memory.plot(frames, mebibytes, PEERS[4], label="resident memory")
    memory.set(ylabel="MiB of resident memory", ylim=(0, 1.25 * max(mebibytes)))
    axes.legend(frameon=False, loc="lower left")
    memory.legend(frameon=False, loc="lower right")
