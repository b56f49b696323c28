"""Imports go one way, and what goes onto a vehicle works where torch can't be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.draw_rooms import draw
from tests.fake_bundle import write_fake_bundle
from tests.rooms import EXCEPTIONS, ROOMS

ROOT = Path(__file__).parents[1]

LIBRARIES = {
    "contract": {"numpy", "msgspec", "tqdm"},
    "pictures": {"numpy", "PIL"},
    "runtime": {
        "numpy",
        "PIL",
        "onnxruntime",
        "openvino",
        "tensorrt",
        "tensorrt_rtx",
        "pycuda",
        "cuda",
        "c2pa",
        "pyarrow",
        "fsspec",
        "imageio_ffmpeg",
        "yaml",
        "cryptography",
    },
}
"""What the folders that go onto a vehicle may import beside the standard library."""

LAZY = {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "pycuda", "cuda", "c2pa", "cryptography"} | {
    "pyarrow",
    "fsspec",
    "imageio_ffmpeg",
    "yaml",
}
"""Engines and drivers, which may be absent: imported inside a function only."""


TORCH = {"models", "training", "export", "audit", "benchmarks"}
"""Rooms that may import torch."""


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports_of(tree: ast.AST, package: str) -> Iterator[str]:
    """Full dotted names of everything that is imported, `from a import b` as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def allowed(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def violations(path: Path, source: str) -> list[str]:
    """The imports of a file that its room may not make."""
    relative = path.relative_to(ROOT)
    room = relative.parts[0]
    rooms = ROOMS[room] | {room} | EXCEPTIONS.get(relative.as_posix(), set())
    found = imports_of(ast.parse(source), ".".join(relative.parts[:-1]))
    wrong = []
    for name in found:
        top = name.split(".")[0]
        if top in ROOMS or top == "tests":
            wrong += [name] * (not allowed(name, rooms))
        elif room in LIBRARIES:
            wrong += [name] * (top not in LIBRARIES[room] and top not in sys.stdlib_module_names)
    return wrong


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    files = files_of(room)
    found = {str(path.relative_to(ROOT)): violations(path, path.read_text()) for path in files}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def modules() -> dict[str, Path]:
    """Dotted name of every module of the rooms."""
    found = {}
    for room in ROOMS:
        for path in files_of(room):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def dependencies(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the rooms that a module imports, wherever in its file."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for imported in imports_of(ast.parse(path.read_text()), package):
        found.add(imported if imported in known else imported.rpartition(".")[0])
    return (found & set(known)) - {name}


def test_imports_make_no_circle() -> None:
    known = modules()
    TopologicalSorter({name: dependencies(name, path, known) for name, path in known.items()}).prepare()


def test_a_command_is_imported_by_nobody() -> None:
    known = modules()
    commands = {name for name, path in known.items() if '__name__ == "__main__"' in path.read_text()}
    assert len(commands) > 10
    others = {name: path for name, path in known.items() if not name.startswith("benchmarks.")}  # it times commands
    imported = {name: dependencies(name, path, known) & commands for name, path in others.items()}
    assert {name: found for name, found in imported.items() if found} == {}


def test_torch_stays_in_its_rooms() -> None:
    for room in set(ROOMS) - TORCH:
        for path in files_of(room):
            names = {name.split(".")[0] for name in imports_of(ast.parse(path.read_text()), room)}
            assert "torch" not in names, path


def test_the_picture_of_the_rooms_is_drawn_from_these_rules() -> None:
    assert (ROOT / "docs" / "rooms.svg").read_text() == draw(), "run python -m tests.draw_rooms docs/rooms.svg"


CASES = {
    "import torch": ("runtime/generator.py", ["torch"]),
    "from models.networks import build": ("runtime/generator.py", ["models.networks.build"]),
    "def f():\n    import models": ("contract/bundle.py", ["models"]),
    "from ..models import edge": ("runtime/x.py", ["models.edge"]),
    "from . import noise": ("runtime/x.py", []),
    "from sources import shards": ("audit/x.py", []),
    "from runtime import Generator": ("export/parity.py", []),
    "from runtime import Generator  # elsewhere": ("export/step_graph.py", ["runtime.Generator"]),
    "import tests.fake_bundle": ("benchmarks/x.py", ["tests.fake_bundle"]),
}


@pytest.mark.parametrize(("source", "case"), CASES.items(), ids=CASES)
def test_the_rule_sees_what_it_has_to(source: str, case: tuple[str, list[str]]) -> None:
    assert violations(ROOT / case[0], source) == case[1]


@pytest.mark.parametrize("room", LIBRARIES)
def test_engines_are_imported_only_when_they_are_used(room: str) -> None:
    for path in files_of(room):
        at_once = eager(ast.parse(path.read_text()))
        imports: list[ast.stmt] = [node for node in at_once if isinstance(node, (ast.Import, ast.ImportFrom))]
        found = {name.split(".")[0] for name in imports_of(ast.Module(imports, []), room)} & LAZY
        assert not found, f"{path}: {found}"


def eager(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: everything outside of functions and of what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        checked = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not checked and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from eager(child)


def test_what_is_eager() -> None:
    source = "try:\n import a\nexcept ImportError:\n pass\nif TYPE_CHECKING:\n import b\ndef f():\n import c"
    assert [each.names[0].name for each in eager(ast.parse(source)) if isinstance(each, ast.Import)] == ["a"]


FORBIDDEN = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ImportError(name + " can't be imported here")

sys.meta_path.insert(0, Forbidden())
from {module} import main
raise SystemExit(main(sys.argv[1:]))
"""


def run_without(names: set[str], module: str, *argv: object) -> subprocess.CompletedProcess[str]:
    script = FORBIDDEN.format(names=names, module=module)
    command = [sys.executable, "-c", script, *map(str, argv)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_runtime_works_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path / "bundle")
    absent = {"torch", "onnx", "onnxscript", "tests", "models", "training", "export", "audit"}
    done = run_without(absent, "runtime.generate", tmp_path / "bundle", "-o", tmp_path / "d", "-n", 3)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "d" / "frames").rglob("*.png"))) == 3
    done = run_without(absent, "runtime.verify", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr


def test_without_an_engine_the_error_names_the_extra(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path / "bundle")
    command = (tmp_path / "bundle", "-o", tmp_path / "d", "--backend", "cpu")
    done = run_without({"onnxruntime"}, "runtime.generate", *command)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "onnxruntime isn't installed" in done.stderr and "pip install '.[cpu]'" in done.stderr
    assert not (tmp_path / "d").exists()


def test_without_torch_an_audit_of_checkpoints_names_the_extra(tmp_path: Path) -> None:
    done = run_without({"torch"}, "audit.privacy.__main__", "--self-test")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "pip install '.[train]'" in done.stderr


@pytest.mark.parametrize("module", ["sources.render", "sources.sheet"])
def test_without_its_packages_the_renderer_names_the_extra(module: str, tmp_path: Path) -> None:
    arguments = ("-o", tmp_path / "sheet.png") if module == "sources.sheet" else (tmp_path / "d", "-n", 1)
    for missing in ("scipy", "mitsuba"):
        done = run_without({missing}, module, *arguments)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "pip install '.[render]'" in done.stderr
        assert not list(tmp_path.iterdir())
