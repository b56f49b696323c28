"""The wheel holds every package, its commands run from any folder, and nothing else can pass for our modules."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest

import dms_edge

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(found.args[0] for found in vars(dms_edge).values() if isinstance(found, partial))
COMMAND = "import sys, dms_edge; sys.exit(dms_edge.export())"
"""What pip writes into a console command."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel installs, in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    backend = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    source = folder / "source"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if names.returncode:
        pytest.skip("needs the git repository")
    for name in names.stdout.decode().split("\0"):
        if name.endswith((".py", ".toml", ".md", ".css", ".js", ".j2")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run([sys.executable, "-c", backend, str(folder)], cwd=source, capture_output=True, text=True)
    if "No module named 'setuptools" in done.stderr:
        pytest.skip("needs setuptools")
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def run_export(site: str | Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`dms-export` from another folder, where our packages are found in `site` alone."""
    script = cwd / "bin" / "dms-export"
    script.parent.mkdir()
    script.write_text(COMMAND)
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_the_wheel_has_every_module_and_no_test(installed: Path) -> None:
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*.py")}
    here = {p.relative_to(ROOT).as_posix() for name in dms_edge.PACKAGES for p in (ROOT / name).rglob("*.py")}
    assert found == here | {"dms_edge.py"}


def test_every_module_that_runs_has_a_console_command(installed: Path) -> None:
    text = next(installed.glob("*.dist-info/entry_points.txt")).read_text()
    functions = [line.partition("dms_edge:")[2] for line in text.splitlines() if "=" in line]
    modules = {getattr(dms_edge, name).args[0] for name in functions}
    assert len(modules) == len(functions) and modules == runnable(installed)


def runnable(site: Path) -> set[str]:
    """Modules for `python -m`."""
    found = [path for path in site.rglob("*.py") if '\nif __name__ == "__main__":' in path.read_text()]
    return {".".join(path.relative_to(site).with_suffix("").parts).removesuffix(".__main__") for path in found}


def test_a_command_runs_in_a_folder_with_modules_of_the_same_name(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "export.py").write_text("raise SystemExit('not ours')")
    done = run_export(installed, tmp_path, "--help")
    assert done.returncode == 0 and "checkpoint" in done.stdout, done.stderr


def test_a_package_of_another_distribution_is_named(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").touch()
    done = run_export(f"{tmp_path}{os.pathsep}{installed}", tmp_path, "--help")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"models is imported from {tmp_path / 'models'}" in done.stderr and "environment of its own" in done.stderr


def test_an_ascii_console_gets_other_characters_escaped() -> None:
    program = "from contract.errors import run_command; run_command('p', lambda: print('\\u00b7') or 0)"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\\xb7\n"), done.stderr


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_helps_with_an_example(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    package = (ROOT / module.replace(".", "/")).is_dir()
    main = importlib.import_module(f"{module}.__main__" if package else module).main
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0 and "example" in said and f"python -m {module}" in said
