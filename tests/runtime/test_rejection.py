"""`--reject-below`: the same frames whatever the batch, in order, after a bounded number of tries, and counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.annotation import Annotation, likelihood
from contract.dataset import Dataset, read_dataset
from contract.field import Condition
from contract.frames import Frames
from contract.schemas import CABIN
from pictures.contact_sheet import write_contact_sheet
from pictures.image_grid import MARK
from runtime import Generator
from runtime.batch import Batch
from runtime.generate import main
from runtime.rejection_sampling import MAX_ATTEMPTS, BatchRequest, RejectionSampling
from tests.fake_bundle import expected_frames

ROOT = Path(__file__).parents[2]
SEED, COUNT = 5, 50
BELOW = 0.8
"""Between what most frames reach and what many need several attempts for."""

ONE_LEVEL = 1
"""A sum in another order may round a pixel to the neighbouring level of 255."""


def joined(batches: Iterator[Batch]) -> tuple[np.ndarray, list[Condition], list[dict[str, Any]]]:
    drawn = list(batches)
    starts = np.cumsum([0, *(len(batch.frames) for batch in drawn)])
    assert [batch.start for batch in drawn] == starts[:-1].tolist(), "in order, without a gap"
    readings = [dict(batch.reading(row)) for batch in drawn for row in range(len(batch.frames))]
    return np.concatenate([b.frames for b in drawn]), [c for b in drawn for c in b.conditions], readings


def drawn(bundle: Path, batch: int, below: float | None = BELOW) -> tuple[np.ndarray, list[Condition], list[Any]]:
    with Generator.open(bundle, "cpu", batch=batch) as generator:
        return joined(generator.stream(iter([{}] * COUNT), SEED, reject_below=below))


@pytest.fixture(scope="module")
def expected(read_bundle: Path) -> tuple[np.ndarray, list[Condition], list[dict[str, Any]]]:
    """Attempt by attempt, one frame after the other, from the noise that the contract names."""
    frames, kept, readings = [], [], []
    with Generator.open(read_bundle, "cpu") as generator:
        conditions = generator.complete([{}] * COUNT, SEED)
        for index, condition in enumerate(conditions):
            vector = CABIN.encode([condition])
            found = []
            for attempt in range(MAX_ATTEMPTS):
                frame = expected_frames(vector, SEED, start=index, attempts=[attempt])
                found.append((likelihood(CABIN, generator.annotate(frame), 0, condition), attempt, frame))
                if found[-1][0] >= BELOW:
                    break
            best = max(found, key=lambda entry: (entry[0], -entry[1]))
            frames.append(best[2])
            readings.append({"attempt": best[1], "tries": len(found)})
            kept.append(best[0])
    assert min(kept) < BELOW < max(kept) and len({reading["tries"] for reading in readings}) > 3
    return np.concatenate(frames), conditions, readings


@pytest.mark.parametrize("batch", [1, 4, 7, 64])
def test_what_an_index_ends_with_depends_on_its_own_attempts_alone(
    read_bundle: Path, batch: int, expected: tuple[np.ndarray, list[Condition], list[dict[str, Any]]]
) -> None:
    frames, conditions, readings = drawn(read_bundle, batch)
    assert conditions == expected[1]
    assert [{key: r[key] for key in ("attempt", "tries")} for r in readings] == expected[2]
    assert np.abs(frames.astype(int) - expected[0]).max() <= ONE_LEVEL


def test_what_is_kept_is_likely_enough_or_the_likeliest_of_all(read_bundle: Path) -> None:
    with Generator.open(read_bundle, "cpu", batch=8) as generator:
        batches = list(generator.stream(iter([{}] * COUNT), SEED, reject_below=BELOW))
        plain = list(generator.stream(iter([{}] * COUNT), SEED))
    for batch, before in zip(batches, plain, strict=True):
        assert batch.annotation is not None and before.annotation is not None
        for row, condition in enumerate(batch.conditions):
            found, reading = likelihood(CABIN, batch.annotation, row, condition), batch.reading(row)
            assert found >= BELOW or reading["tries"] == MAX_ATTEMPTS
            assert found >= likelihood(CABIN, before.annotation, row, condition)
            assert reading["attempt"] == batch.attempts[row] < reading["tries"] <= MAX_ATTEMPTS
            if found >= BELOW:
                asked = [n for n in CABIN.names if CABIN.field(n).is_class and reading["measured"][n] is not None]
                assert all(reading["measured"][name] == condition[name] for name in asked)


def annotation_of(likelihoods: list[float], condition: Condition) -> Annotation:
    """Frames that show the classes of a condition with these probabilities."""
    rows = []
    for share in likelihoods:
        fields = [field for field in CABIN.fields if field.is_class]
        rows.append(
            [
                share if value == condition[field.name] else (1 - share) / (len(field.values) - 1)
                for field in fields
                for value in field.values
            ]
        )
    empty = np.zeros((len(rows), 0), np.float32)
    return Annotation(np.array(rows, np.float32), empty, empty, empty, empty)


@pytest.mark.parametrize("count", range(1, 33))
def test_the_last_frames_come_however_full_the_last_batch_is(count: int) -> None:
    """That no index is left may only be noticed when nothing is under way any more."""
    condition = CABIN.complete({}, np.random.default_rng(0))

    def draw(requests: Iterable[BatchRequest]) -> Iterator[tuple[Frames, Annotation]]:
        for request in requests:
            tries = zip(request.indices, request.attempts or [], strict=True)
            shares = [0.4 if index % 5 == 3 and attempt == 0 else 0.9 for index, attempt in tries]
            yield np.zeros((len(shares), 1, 1, 1), np.uint8), annotation_of(shares, condition)

    numbered = ((index, condition) for index in range(count))
    settled = RejectionSampling(CABIN, numbered, 8, 0.5).settle(draw)
    assert [candidate.index for each in settled for candidate in each.candidates] == list(range(count))


@pytest.mark.parametrize("ahead", [1, 2], ids=["one batch after the other", "one batch in advance"])
def test_batches_stay_full_and_little_waits(ahead: int) -> None:
    """Every third index is beyond the network, and an engine may take a batch before the last one was read."""
    condition, size, count = CABIN.complete({}, np.random.default_rng(0)), 6, 200
    taken = 0

    def numbered() -> Iterator[tuple[int, Condition]]:
        nonlocal taken
        for taken in range(1, count + 1):
            yield taken - 1, condition

    sampling = RejectionSampling(CABIN, numbered(), size, 0.5)
    sizes, out, most, under_way = [], [], 0, []

    def read(indices: list[int], attempts: list[int] | None) -> None:
        shares = [
            0.4 - 0.01 * (attempt - 3) ** 2 / 16 if index % 3 == 0 else 0.9
            for index, attempt in zip(indices, attempts or [], strict=True)
        ]
        frames = np.array(attempts, np.uint8).reshape(-1, 1, 1, 1)
        sampling.take(frames, annotation_of(shares, condition))
        for settled in sampling.ready():
            out.extend(zip(settled.candidates, settled.frames[:, 0, 0, 0].tolist(), strict=True))

    while sampling.pending:
        for request in sampling.requests():
            sizes.append(len(request.indices))
            under_way.append((request.indices, request.attempts))
            if len(under_way) == ahead:
                read(*under_way.pop(0))
            most = max(most, taken - len(out))
        while under_way:
            read(*under_way.pop(0))
    assert [candidate.index for candidate, _ in out] == list(range(count))
    assert sizes.count(size) > 0.8 * len(sizes) and most <= size * (MAX_ATTEMPTS * ahead + 1)
    beyond = [(candidate, frame) for candidate, frame in out if candidate.index % 3 == 0]
    assert all(candidate.tries == MAX_ATTEMPTS and candidate.attempt == 3 for candidate, _ in beyond)
    assert all(frame == 3 for _, frame in beyond), "the likeliest one is handed out"
    assert all(candidate.tries == 1 for candidate, _ in out if candidate.index % 3)


def generate(bundle: Path, output: Path, *options: str) -> Dataset:
    command = [str(bundle), "-o", str(output), "--backend", "cpu", "-n", str(COUNT), "--seed", str(SEED)]
    assert main([*command, "--reject-below", str(BELOW), *options]) == 0
    return read_dataset(output)


def test_the_dataset_counts_what_was_rejected(
    read_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    expected: tuple[np.ndarray, list[Condition], list[dict[str, Any]]],
) -> None:
    dataset = generate(read_bundle, tmp_path / "d", "--batch", "4", "--json")
    figures = json.loads(capsys.readouterr().out)
    records, told = list(dataset.records()), dataset.description
    assert [{key: r[key] for key in ("attempt", "tries")} for r in records] == expected[2]
    assert told.reject_below == BELOW and told.annotator == "fp32"
    assert told.rejected == figures["rejected"] == sum(reading["tries"] - 1 for reading in expected[2]) > 20
    assert told.disagreeing == COUNT - figures["agreeing"] == sum(not r["agrees"] for r in records)
    assert figures["reject_below"] == BELOW


def test_counts_survive_an_interruption(read_bundle: Path, tmp_path: Path) -> None:
    whole = generate(read_bundle, tmp_path / "whole", "--batch", "4")
    part = generate(read_bundle, tmp_path / "part", "--batch", "7")
    lines = (tmp_path / "part" / "metadata.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part" / "metadata.jsonl").write_text("".join(lines[:23]))
    part = generate(read_bundle, tmp_path / "part", "--batch", "4")
    assert list(part.records()) == list(whole.records())
    assert part.description == whole.description


@pytest.mark.parametrize("change", [["--reject-below", "0.7"], ["--annotator", "off"]], ids=["another P", "none"])
def test_another_rejection_is_another_dataset(
    read_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str]
) -> None:
    generate(read_bundle, tmp_path / "d")
    capsys.readouterr()
    command = [str(read_bundle), "-o", str(tmp_path / "d"), "--backend", "cpu", "-n", str(COUNT), "--seed", str(SEED)]
    assert main([*command, *change]) == 1
    error = capsys.readouterr().err
    assert "another dataset" in error and "reject_below" in error and error.count("\n") == 1


USAGE = {
    "zero": (["--reject-below", "0"], 2, "above 0 and below 1"),
    "one": (["--reject-below", "1"], 2, "above 0 and below 1"),
    "nan": (["--reject-below", "nan"], 2, "above 0 and below 1"),
    "words": (["--reject-below", "most"], 2, "above 0 and below 1"),
    "no annotator": (["--reject-below", "0.5", "--annotator", "off"], 2, "--annotator off"),
    "raw": (["--raw", "x", "--reject-below", "2"], 2, "above 0 and below 1"),
    "unknown": (["--annotator", "fp16"], 2, "invalid choice"),
    "none there": (["--reject-below", "0.5"], 1, "training.train_annotator"),
    "none of that name": (["--annotator", "int8"], 1, "training.train_annotator"),
}


@pytest.mark.parametrize(("options", "status", "message"), USAGE.values(), ids=USAGE)
def test_a_mistake_is_one_line_and_writes_nothing(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(bundle), "--backend", "cpu", *options]) == status
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_raw_stream_rejects_and_labels_as_well(
    read_bundle: Path, tmp_path: Path, expected: tuple[np.ndarray, list[Condition], list[dict[str, Any]]]
) -> None:
    labels = tmp_path / "labels.jsonl"
    command = [sys.executable, "-m", "runtime.generate", str(read_bundle), "--raw", "-", "--labels", str(labels)]
    options = ["-n", str(COUNT), "--seed", str(SEED), "--reject-below", str(BELOW), "--backend", "cpu", "--json"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, timeout=60, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(expected[0].shape)
    assert np.abs(frames.astype(int) - expected[0]).max() <= ONE_LEVEL
    entries = [json.loads(line) for line in labels.read_text().splitlines()]
    assert [{key: entry[key] for key in ("attempt", "tries")} for entry in entries] == expected[2]
    figures = json.loads(done.stderr.decode().splitlines()[-1])
    assert figures["agreeing"] == sum(entry["agrees"] for entry in entries)
    assert figures["rejected"] == sum(entry["tries"] - 1 for entry in entries) and figures["annotator"] == "fp32"


def test_the_contact_sheet_marks_what_disagrees(read_bundle: Path, tmp_path: Path) -> None:
    dataset = generate(read_bundle, tmp_path / "d", "--batch", "8")
    path = tmp_path / "d" / "metadata.jsonl"

    def marked(agreeing: list[bool]) -> tuple[int, int]:
        """Pixels of the mark's colour, and the sheet's height."""
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        changed = [entry | {"agrees": agrees} for entry, agrees in zip(entries, agreeing, strict=True)]
        path.write_text("".join(json.dumps(entry) + "\n" for entry in changed))
        sheet = np.asarray(Image.open(write_contact_sheet(dataset.folder)))
        return int((sheet == MARK).all(axis=2).sum()), sheet.shape[0]

    (none, low), (one, high), (two, same) = (marked([n >= wrong for n in range(COUNT)]) for wrong in (0, 1, 2))
    corner = two - one
    assert none == 0 and corner > 300 and corner < one < 2 * corner, "a corner for each, and one legend"
    assert high == same > low
