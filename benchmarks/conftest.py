"""One measured run for all checks, and the machine in the header."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.competitors import CONTENDERS
from benchmarks.document import document_seconds
from benchmarks.exports import prepare
from benchmarks.fixtures import ROOT, Setting, cpu_backend
from benchmarks.layers import operator_seconds, read_layers
from benchmarks.machine import energy_meter, machine
from benchmarks.machine_peak import matrix_product_rates
from benchmarks.page import write_page
from benchmarks.summary import GOALS, NAMES, ratios, regressions, speed, table
from benchmarks.to_disk import draw_only, to_disk
from contract.bundle import Manifest, read_manifest
from contract.files import write_whole
from runtime import Generator

FOLDER = ROOT / "build/benchmarks"
SOAK = FOLDER / "soak.json"
"""What the last long run on this machine left."""

BASELINE = ROOT / "benchmarks/baseline.json"

PROCESSES = 3
COLD = (
    *("ours fp32", "ours int8", "ours onnxruntime fp32", "ours onnxruntime int8"),
    *("torch eager", "diffusers plain ONNX", "openvino int8"),
)

DISK_FRAMES, DISK_BATCH, DISK_ROUNDS = 1280, 16, 3
DOCUMENT_BATCH = 8
SHARE_BATCH = 32
"""Frames of a batch at which the network's share of the machine's peak is reported."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-baseline", action="store_true", help="make this run's ratios the baseline")


def pytest_report_header() -> str:
    """What the figures are measured on."""
    about = machine()
    return f"{about['cpu']}, {about['cores']} cores, {about['architecture']}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long runs out unless -m names them."""
    if "soak" not in config.getoption("-m"):
        long = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def setting() -> Setting:
    """The shipped student and its teacher, exported anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in (*FOLDER.glob("teacher-*"), FOLDER / "bundle"):
        shutil.rmtree(path, ignore_errors=True)
    return prepare(FOLDER)


@pytest.fixture(scope="session")
def bundle(setting: Setting) -> Path:
    return Path(setting.bundle)


@pytest.fixture(scope="session")
def summary(setting: Setting, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Everything that is measured; written to `summary.json` and `index.html` also where a check fails."""
    found = measure(setting)
    write_whole(FOLDER / "summary.json", json.dumps(found, indent=1).encode() + b"\n")
    page = write_page(FOLDER, found)
    yield found
    if request.config.getoption("--renew-baseline") and not request.session.testsfailed:
        kept: dict[str, Any] = {key: found["machine"][key] for key in ("cpu", "cores")}
        kept["ratios"] = {name: round(ratio["value"], 4) for name, ratio in found["ratios"].items()}
        write_whole(BASELINE, json.dumps(kept, indent=1).encode() + b"\n")
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter:
        for name, ratio in found["ratios"].items():
            goal = "" if ratio["goal"] is None else f" (goal: {ratio['goal']:g})"
            reporter.write_line(f"{name}: {ratio['value']:.3g}{goal}")
        reporter.write_line(f"look at {page}")


def measure(setting: Setting) -> dict[str, Any]:
    """The table of contenders, and what is measured beside it."""
    manifest = read_manifest(setting.bundle)
    about, (_, energy) = machine(), energy_meter()
    rates = [matrix_product_rates()]
    cold = {name: _child("startup", name) for name in COLD}
    rows = table([_interleaved(number) for number in range(PROCESSES)], cold, manifest.sampler.steps)
    rates.append(matrix_product_rates())
    peak = {name: max(rate[name] for rate in rates) for name in rates[0]}
    found = ratios(rows) | _disk(Path(setting.bundle)) | _document(setting, rows) | _share(setting, rows, peak)
    return {
        "machine": about | {"energy": energy},
        "rows": rows,
        "ratios": {name: found[name] | {"goal": GOALS.get(name)} for name in NAMES if name in found},
        "not_measured": sorted(set(CONTENDERS) - {row["name"] for row in rows}),
        "matrix_product_flops": peak,
        "cold": cold,
        "steps": _steps(setting),
        "host_share": {precision: _host_share(Path(setting.bundle), precision, 1) for precision in ("fp32", "int8")},
        "host_share_in_a_stream": {"fp32": _host_share(Path(setting.bundle), "fp32", 8)},
        "operators": {
            precision: operator_seconds(Path(setting.bundle) / f"step.{precision}.onnx", manifest, 4)
            for precision in ("fp32", "int8")
        },
        "soak": _soak(manifest),
    }


def _soak(manifest: Manifest) -> dict[str, Any] | None:
    """The last long run of this very bundle on this machine."""
    found = json.loads(SOAK.read_text()) if SOAK.exists() else {}
    return found if found.get("bundle") == manifest.digest else None


def regressed(found: dict[str, Any]) -> list[str]:
    """What falls behind the stored baseline."""
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    return regressions(found["ratios"], baseline, found["machine"])


def _interleaved(number: int) -> list[dict[str, Any]]:
    output = FOLDER / f"process-{number}.json"
    command = [sys.executable, "-m", "benchmarks.interleaved", str(FOLDER / "setting.json"), str(output)]
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(FOLDER / "inductor"), "TORCHINDUCTOR_FX_GRAPH_CACHE": "1"}
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | cache, stdout=subprocess.DEVNULL)
    return list(json.loads(output.read_text()))


def _child(module: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{module}", str(FOLDER / "setting.json"), *arguments]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(said.strip().splitlines()[-1]))


def _disk(bundle: Path) -> dict[str, dict[str, Any]]:
    """The network alone against writing to disk, in turns; with an annotator once."""

    def written(annotator: str) -> float:
        folder = FOLDER / f"frames-{annotator}"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed, which this one would go on with
        seconds = to_disk(bundle, folder, DISK_FRAMES, DISK_BATCH, "fp32", annotator)
        shutil.rmtree(folder)
        return seconds

    turns = [(draw_only(bundle, DISK_FRAMES, DISK_BATCH, "fp32"), written("off")) for _ in range(DISK_ROUNDS)]
    alone, off = (statistics.median(taken) for taken in zip(*turns, strict=True))
    annotated = written("fp32")
    about = {"batch": DISK_BATCH, "frames": DISK_FRAMES, "precision": "fp32"}
    return {
        "generate_to_disk_over_network_only": {"value": alone / off, **about},
        "generate_to_disk_annotated_over_network_only": {"value": alone / annotated, **about},
    }


def _document(setting: Setting, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The student at the runtime's default precision on a CPU, fp32, over the document's loop, extrapolated."""
    ours = speed(rows, "ours fp32")[DOCUMENT_BATCH]
    found = {}
    for suffix, guided in (("", True), ("_unguided", False)):
        theirs = DOCUMENT_BATCH / document_seconds(setting, DOCUMENT_BATCH, guided)
        about = {"batch": DOCUMENT_BATCH, "extrapolated": True, "document_frames_per_second": theirs}
        found[f"default_over_document_ddpm1000{suffix}"] = {"value": ours / theirs, **about}
    return found


def _share(setting: Setting, rows: list[dict[str, Any]], peak: dict[str, float]) -> dict[str, dict[str, Any]]:
    """FLOP/s of the convolutions and matrix products over the time of whole frames, noise included."""
    layers = read_layers(Path(setting.bundle) / "step.fp32.onnx", SHARE_BATCH)
    operations = sum(layer.operations for layer in layers if layer.kind in ("Conv", "Gemm")) / SHARE_BATCH
    steps = read_manifest(setting.bundle).sampler.steps
    reached = speed(rows, "ours fp32")[SHARE_BATCH] * steps * operations
    best = max(peak, key=lambda name: peak[name])
    about = {"flops": reached, "peak_flops": peak[best], "peak_library": best, "batch": SHARE_BATCH}
    return {"fp32_share_of_peak": {"value": reached / peak[best], **about}}


def _steps(setting: Setting) -> list[dict[str, Any]]:
    """Frames a second of the teacher, unguided and in fp32, by number of steps, and of the student."""
    bundles = [("teacher", count, path) for count, path in setting.steps.items()]
    bundles.append(("student", read_manifest(setting.bundle).sampler.steps, setting.bundle))
    frames, found = 32, []
    for name, count, path in bundles:
        seconds = [draw_only(Path(path), frames, 8, "fp32") for _ in range(3)]
        found.append({"name": name, "steps": count, "frames_per_second": frames / statistics.median(seconds)})
    return found


def _host_share(bundle: Path, precision: str, batches: int) -> float:
    """Time outside the engine (conditions, noise, batches) divided by the time inside it.

    With several batches a call, work that overlaps with drawing another batch counts as time inside.
    """
    shares = []
    with Generator.open(bundle, backend=cpu_backend(), precision=precision, batch=8, annotator="off") as generator:
        for number in range(3):
            before, started = generator.engine_seconds, time.perf_counter()
            for _ in range(8 // batches):
                generator.generate([{}] * 8 * batches, seed=number)
            inside = generator.engine_seconds - before
            shares.append((time.perf_counter() - started - inside) / inside)
    return statistics.median(shares)
