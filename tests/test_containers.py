"""A read-only machine with one mounted volume and a user without a name: bundles and datasets go onto the volume."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_bundle import write_fake_bundle

ROOT = Path(__file__).parents[1]
ENTER = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]

REPLACE = """
import sys
from pathlib import Path
from export.bundle import replacing
for text in ("old", "new"):
    with replacing(sys.argv[1]) as part:
        (part / "manifest.json").write_text(text)
        if text == "old":
            (part / "step.fp16.onnx").touch()
"""


NAMELESS = "12345"
"""A user that has no entry in the list of users."""


def on_a_volume(volume: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without a name where `volume` is a mount point and the root is read-only."""
    kept = volume.parents[1] / "kept"
    kept.mkdir(exist_ok=True)
    user = f"unshare --user --map-user={NAMELESS} --map-group={NAMELESS}"
    script = f"mount --bind {kept} {volume}; mount -o remount,bind,ro /; cd {ROOT}"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*ENTER, f'{script}; exec {user} "$@"', "sh", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode and ("unshare" in done.stderr or "mount:" in done.stderr):
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()[:200]}")
    return done


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    if not shutil.which("unshare"):
        pytest.skip("needs unshare")
    folder = tmp_path / "root" / "volume"
    folder.mkdir(parents=True)
    return folder


def test_a_bundle_is_put_into_a_mount_point_and_replaced_there(volume: Path, tmp_path: Path) -> None:
    done = on_a_volume(volume, [sys.executable, "-c", REPLACE, str(volume)])
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["manifest.json"]
    assert (tmp_path / "kept/manifest.json").read_text() == "new"


def test_a_dataset_is_complete_without_its_contact_sheet(volume: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    write_fake_bundle(bundle)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/lost+found").mkdir()
    command = [sys.executable, "-m", "runtime.generate", str(bundle), "-o", str(volume), "-n", "4", "--backend", "cpu"]
    done = on_a_volume(volume, [*command, "--threads", "1"])
    assert done.returncode == 0, done.stderr
    assert "4 frames" in done.stdout and "look at" not in done.stdout
    assert "contact.png" in done.stderr and "complete without it" in done.stderr
    assert (tmp_path / "kept/dataset.json").exists()


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("import tempfile; tempfile.gettempdir()", "name a folder that can be written: TMPDIR=FOLDER"),
        ("from audit.figure import new_figure; new_figure('a.png', (1, 1), 10)", "a.png isn't drawn, since matplotlib"),
    ],
)
def test_what_takes_a_place_for_temporary_files_says_so_in_one_line(volume: Path, body: str, line: str) -> None:
    program = f"from contract.errors import run_command\ndef run():\n {body}\nraise SystemExit(run_command('p', run))"
    done = on_a_volume(volume, [sys.executable, "-c", program])
    if done.returncode == 0:
        pytest.skip("a file system of its own holds the temporary files")
    assert done.returncode == 1 and line in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
