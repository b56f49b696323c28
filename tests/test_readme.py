"""README's commands do what README says, run in a folder that holds nothing but the shipped checkpoint."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the section Use were run, in their order."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "checkpoints").symlink_to(ROOT / "checkpoints")
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("python -m")]
    assert len(lines) >= 4
    for line in lines:
        run([sys.executable, *shlex.split(line, comments=True)[1:]], folder)
    return folder


def test_the_commands_write_what_they_promise(used: Path) -> None:
    records = [json.loads(line) for line in (used / "night" / "metadata.jsonl").read_text().splitlines()]
    assert len(records) == 8
    assert {(record["lighting"], record["accessory"], record["synthetic"]) for record in records} == {
        ("night", "glasses", True)
    }
    assert len((used / "tail" / "metadata.jsonl").read_text().splitlines()) == 4 * 2
    assert (used / "night.contact.png").is_file() and (used / "report.html").is_file()
    one, many = ([path.read_bytes() for path in sorted((used / name).rglob("*.parquet"))] for name in ("set", "same"))
    assert one == many != []


def test_the_python_example_runs(used: Path) -> None:
    (example,) = blocks("python")
    check = "\nassert frames.shape == (1, 128, 128, 3) and frames.dtype == 'uint8' and frames.std() > 10"
    run([sys.executable, "-c", example + check], used)


def test_make_demo_exports_the_shipped_checkpoint_into_the_promised_folders() -> None:
    planned = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"-m export checkpoints/cabin128\.pt -o build/bundle\b", planned)
    assert re.search(r"-m runtime\.generate build/bundle -o build/frames -n 64\b", planned)


def test_every_file_that_the_readme_links_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
