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

from contract.files import write_whole

OURS = ("#0b6e4f", "#08a045", "#1f77b4", "#7ab8e0")
PEERS = ("#444b6e", "#708b75", "#9a879d", "#bf8b67", "#b0413e", "#8f95d3")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f23 }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2.2rem }
table { border-collapse: collapse; font-size: 13px } th, td { padding: .25rem .7rem; text-align: right }
th:first-child, td:first-child { text-align: left } tr:nth-child(even) { background: #f4f6f8 }
th { border-bottom: 2px solid #cfd7df } .short { color: #b0413e } .own td { font-weight: 600 }
p.about { color: #57606a; margin-top: .2rem } img { max-width: 100% } figure { margin: 1rem 0 }
"""


def write_page(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Write `index.html` and the pictures beside it."""
    plots: dict[str, tuple[str, Callable[[Axes], None]]] = {
        "latency": ("Latency of a batch", lambda axes: _latency(axes, summary["rows"])),
        "steps": ("Throughput against steps", lambda axes: _steps(axes, summary["steps"])),
        "operators": (
            "Time inside the network by operator, with ONNX Runtime",
            lambda axes: _operators(axes, summary["operators"]),
        ),
    }
    if summary.get("soak"):
        plots["soak"] = ("A long run to disk", lambda axes: _soak(axes, summary["soak"]["windows"]))
    for name, (_, plot) in plots.items():
        write_whole(folder / f"{name}.png", _drawn(plot))
    figures = "\n".join(
        f'<h2>{html.escape(title)}</h2><figure><img src="{name}.png" alt="{html.escape(title)}"></figure>'
        for name, (title, _) in plots.items()
    )
    about = summary["machine"]
    machine = f"{about['cpu']}, {about['cores']} cores, {about['system']}, Python {about['python']}; "
    machine += ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    content = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>dms-edge benchmarks</title>
<style>{STYLE}</style><h1>How fast it draws</h1><p class="about">{html.escape(machine)}</p>
<h2>Ratios within this run</h2>{_ratios(summary["ratios"])}
<p class="about">Outside the engine, of the time inside it, a batch at a time: {_shares(summary["host_share"])}.
Not measured here: {html.escape(", ".join(summary["not_measured"]) or "nothing")}.
Energy: {html.escape(about["energy"])}.</p>{figures}
<h2>Every row</h2>{_rows(summary["rows"])}</html>"""
    write_whole(folder / "index.html", content.encode())
    return folder / "index.html"


def _ratios(ratios: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["<table><tr><th>ratio</th><th>value</th><th>asked</th><th>by batch</th></tr>"]
    for name, ratio in ratios.items():
        short = ratio["asked"] is not None and ratio["value"] < ratio["asked"]
        each = ", ".join(f"{batch}: {value:.2f}" for batch, value in (ratio.get("by_batch") or {}).items())
        asked = "" if ratio["asked"] is None else f"{ratio['asked']:g}"
        value = f'<td class="short">{ratio["value"]:.3g}</td>' if short else f"<td>{ratio['value']:.3g}</td>"
        lines.append(f"<tr><td>{name}</td>{value}<td>{asked}</td><td>{each}</td></tr>")
    return "".join([*lines, "</table>"])


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{precision} {share:.1%}" for precision, share in shares.items())


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = (
        "",
        "batch",
        "frames/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "spread",
        "load s",
        "first s",
        "opened MiB",
        "peak MiB",
        "frames",
    )
    lines = ["<table><tr>", *(f"<th>{head}</th>" for head in heads), "</tr>"]
    for row in rows:
        latency = row["latency_ms"]
        cells = [row["name"], row["batch"], f"{row['frames_per_second']:.1f}"]
        cells += [f"{latency[p]:.1f}" for p in ("p50", "p95", "p99")] + [f"{row['spread']:.0%}"]
        cells += ["" if row[key] is None else f"{row[key]:.2f}" for key in ("load_s", "first_batch_s")]
        cells += ["" if row[key] is None else f"{row[key]:.0f}" for key in ("opened_mib", "peak_mib")]
        cells += ["same" if row["same_frames"] else "differ"]
        kind = ' class="own"' if row["name"].startswith("ours") else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return "".join([*lines, "</table>"])


def _drawn(plot: Callable[[Axes], None]) -> bytes:
    figure, axes = plt.subplots(figsize=(9, 4.6), dpi=110)
    plot(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e8ee", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def _latency(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(row["name"] for row in rows))
    colours = {True: itertools.cycle(OURS), False: itertools.cycle(PEERS)}
    for name in names:
        own = name.startswith("ours")
        points = [(row["batch"], row["latency_ms"]["p50"]) for row in rows if row["name"] == name]
        style = {"linewidth": 2.4, "marker": "o"} if own else {"linewidth": 1.1, "marker": ".", "linestyle": "--"}
        axes.plot(*zip(*points, strict=True), label=name, color=next(colours[own]), **style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("frames in a batch")
    axes.set_ylabel("median milliseconds")
    ticks = sorted({row["batch"] for row in rows})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _steps(axes: Axes, steps: Sequence[Mapping[str, Any]]) -> None:
    for label in dict.fromkeys(row["name"] for row in steps):
        points = sorted((row["steps"], row["frames_per_second"]) for row in steps if row["name"] == label)
        axes.plot(*zip(*points, strict=True), "o-", label=label)
    axes.set_xlabel("sampling steps")
    axes.set_ylabel("frames a second")
    axes.set_xscale("log", base=2)
    ticks = sorted({row["steps"] for row in steps})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _operators(axes: Axes, operators: Mapping[str, Mapping[str, float]]) -> None:
    names = list(dict.fromkeys(name for seconds in operators.values() for name in seconds))
    height = 0.8 / len(operators)
    kept = [name for name in names if any(seconds.get(name, 0.0) > 5e-5 for seconds in operators.values())]
    for place, (precision, seconds) in enumerate(operators.items()):
        offsets = [row + place * height for row in range(len(kept))]
        axes.barh(offsets, [seconds.get(name, 0.0) * 1e3 for name in kept], height, label=precision)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(kept))], kept, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of one step")
    axes.legend(frameon=False)


def _soak(axes: Axes, windows: Sequence[Mapping[str, Any]]) -> None:
    frames, total = [], 0
    for window in windows:
        total += window["frames"]
        frames.append(total)
    axes.plot(frames, [w["frames"] / w["seconds"] for w in windows], color=OURS[0], label="frames a second")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frames written")
    axes.set_ylabel("frames a second")
    memory = axes.twinx()
    memory.plot(frames, [w["resident"] / 2**20 for w in windows], color=PEERS[4], label="resident memory")
    memory.set_ylim(0, 1.25 * max(w["resident"] for w in windows) / 2**20)
    memory.set_ylabel("MiB of resident memory")
    axes.legend(frameon=False, loc="lower left")
    memory.legend(frameon=False, loc="lower right")
