"""An epsilon of the checkpoint's training is said of its frames: in their description, their data card, their page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audit.data_card.__main__ import README
from audit.data_card.__main__ import main as write_card
from audit.report.__main__ import main as write_page
from contract.bundle import write_manifest
from contract.dataset import read_dataset
from runtime.generate import main as generate
from runtime.merge import merged_description
from tests.fake_bundle import write_fake_bundle

PROVEN = {"epsilon": 3.0, "delta": 1e-5, "unit": "driver"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of a bundle whose checkpoint was trained privately."""
    folder = tmp_path_factory.mktemp("private")
    manifest = write_fake_bundle(folder / "bundle")
    lineage = {"data": "private", "steps": 200, **PROVEN}
    write_manifest(folder / "bundle", replace(manifest, source={"checkpoint": "0" * 64, "lineage": lineage}))
    assert generate([str(folder / "bundle"), "-o", str(folder / "frames"), "-n", "2", "--backend", "cpu"]) == 0
    return folder / "frames"


def test_a_data_set_is_described_with_it(dataset: Path) -> None:
    stored = json.loads((dataset / "dataset.json").read_text())
    assert {name: stored[name] for name in PROVEN} == PROVEN


def test_the_card_has_it_under_the_right_names(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("yaml", reason="PyYAML isn't installed: pip install '.[audit]'")
    capsys.readouterr()
    assert write_card([str(dataset), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["privacy"] == PROVEN | {"reason": None}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (dataset / README).read_text().splitlines()]
    assert [row for row in rows if row and row[0] in PROVEN] == [[name, str(value)] for name, value in PROVEN.items()]


def test_the_page_shows_it(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="Jinja2 isn't installed: pip install '.[audit]'")
    assert write_page([str(dataset), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "epsilon 3 at delta 1e-05 for each driver" in page and "wasn&#39;t trained with" not in page


def test_frames_merged_with_others_have_it_only_where_all_do(dataset: Path) -> None:
    own = read_dataset(dataset).description
    public = replace(own, epsilon=None, delta=None, unit=None)
    other = replace(own, checkpoint="1" * 64)  # of the same people, perhaps: their budgets would add up
    for parts, proven in (([own, own], PROVEN), ([own, public], None), ([own, other], None)):
        merged = merged_description(parts, "folder")
        assert {name: getattr(merged, name) for name in PROVEN} == (proven or dict.fromkeys(PROVEN))
        assert bool(merged.privacy[1]) == (proven is None)
    assert "its parts come from several checkpoints" in merged.privacy[1]


@pytest.mark.parametrize("change", [{"delta": None}, {"unit": "person"}, {"epsilon": None}])
def test_a_budget_that_says_too_little_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object]
) -> None:
    manifest = write_fake_bundle(tmp_path / "bundle")
    write_manifest(tmp_path / "bundle", replace(manifest, source={"checkpoint": "0" * 64, "lineage": PROVEN | change}))
    assert generate([str(tmp_path / "bundle"), "-o", str(tmp_path / "frames"), "-n", "2", "--backend", "cpu"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the bundle's lineage: epsilon" in error and not (tmp_path / "frames").exists()
