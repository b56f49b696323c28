"""No engine looks up a name, connects to anything, or leaves files in the home folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contract.silence import SWITCHES
from tests.runtime.host_cpu import openvino_problem

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("network_watch.c")

LOOK_UP = "import socket; socket.getaddrinfo('example.invalid', 80)"

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("watch") / "network_watch.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


def watched(watch: Path, tmp_path: Path, *command: str) -> tuple[int, str, list[str]]:
    """Exit status, what went to the network, and what was left in the home folder."""
    home, log = tmp_path / "home", tmp_path / "network.log"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in SWITCHES and not name.startswith("XDG_")}
    environment = kept | {"HOME": str(home), "LD_PRELOAD": str(watch), "NETWORK_WATCH": str(log)}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, timeout=120)
    return done.returncode, log.read_text() if log.exists() else "", sorted(path.name for path in home.rglob("*"))


def test_a_look_up_is_seen(watch: Path, tmp_path: Path) -> None:
    status, network, _ = watched(watch, tmp_path, "-c", LOOK_UP)
    assert status and "example.invalid" in network


@pytest.mark.parametrize("backend", ["cpu", "openvino"])
def test_frames_are_drawn_without_a_word_to_anyone(backend: str, watch: Path, own_bundle: Path, tmp_path: Path) -> None:
    if backend == "openvino" and (problem := openvino_problem()):
        pytest.skip(problem)
    command = ["-m", "runtime.generate", str(own_bundle), "-o", str(tmp_path / "f"), "-n", "4", "--backend", backend]
    assert watched(watch, tmp_path, *command) == (0, "", [])


def test_the_switch_is_thrown_before_the_import(own_bundle: Path) -> None:
    """Also where the environment says otherwise; asked of the process that has imported the engine."""
    program = f"""
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "0"
seen = []
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime": seen.append(os.environ["ORT_DISABLE_TELEMETRY"])
sys.meta_path.insert(0, Finder())
from runtime import Generator
Generator.open({str(own_bundle)!r}, "cpu").close()
assert seen == ["1"], seen
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
