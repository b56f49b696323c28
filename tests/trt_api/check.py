"""Which TensorRT names a source file uses that a supported release lacks.

    python -m tests.trt_api.check export/engines/builder.py runtime/backends/trt_engine.py

Two checks against every listing beside this file:
  - `trt.Class.member` and `trt.name` must exist as written;
  - a method or property read off a TensorRT object (`config.set_flag`) must exist on some class of the release.
    Objects are the names that the file assigns from a TensorRT call; attributes of anything else aren't looked at.
A name that the file also passes as a string to hasattr() or getattr() counts as asked for first.
Exit status 1 when a name is missing, 2 when a file uses none at all.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LISTINGS = Path(__file__).parent
MODULE_NAMES = {"trt", "tensorrt", "tensorrt_rtx"}

OF_PYTHON = {"volume", "nptype"}
"""What the bindings' Python layer adds to a release's names."""

OF_EVERY_ENUM = {"name", "shape", "dtype", "nbytes", "value"}
LOGGERS = {"Logger", "ILogger"}
"""Their severities aren't listed."""


@dataclass
class Release:
    """What one release offers."""

    name: str
    classes: dict[str, set[str]] = field(default_factory=dict)
    names: set[str] = field(default_factory=lambda: set(OF_PYTHON))

    @staticmethod
    def read(listing: Path) -> Release:
        """Read `Name: member member ...`, a line a class."""
        release = Release(listing.stem)
        for line in listing.read_text().splitlines():
            head, colon, members = line.partition(":")
            name = head.removesuffix("()").strip()
            release.names.add(name)
            if colon:
                release.classes[name] = set(members.split())
        return release

    def has(self, chain: tuple[str, ...]) -> bool:
        """Whether `trt.<chain>` exists."""
        head, *rest = chain
        if head not in self.names:
            return False
        return not rest or head in LOGGERS or head not in self.classes or rest[0] in self.classes[head]

    def has_member(self, member: str) -> bool:
        """Whether any class has it."""
        return member in OF_EVERY_ENUM or any(member in members for members in self.classes.values())


@dataclass
class Uses:
    """TensorRT names of one file, each with its first line."""

    chains: dict[tuple[str, ...], int] = field(default_factory=dict)
    members: dict[str, int] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


def uses_of(source: str) -> Uses:
    """Every TensorRT name in a file's source."""
    tree, found = ast.parse(source), Uses()
    objects = _objects(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found.asked.update(_asked(node))
        if isinstance(node, ast.Attribute):
            root, chain = _chain(node)
            if root in MODULE_NAMES:
                found.chains.setdefault(chain, node.lineno)
            elif _name_of(node.value) in objects and not node.attr.startswith("__"):
                found.members.setdefault(node.attr, node.lineno)
    return found


def missing(source: str) -> list[str]:
    """`line 12: trt.BuilderFlag.FP16 is not in tensorrt-11.4.0`, for each name and release."""
    found, lacking = uses_of(source), []
    for release in map(Release.read, sorted(LISTINGS.glob("tensorrt*.txt"))):
        for chain, line in found.chains.items():
            if not release.has(chain) and not found.asked.intersection(chain):
                lacking.append(f"line {line}: trt.{'.'.join(chain)} is not in {release.name}")
        for member, line in found.members.items():
            if not release.has_member(member) and member not in found.asked:
                lacking.append(f"line {line}: .{member} is on no class of {release.name}")
    return lacking


def main(argv: list[str]) -> int:
    used = sum(len(uses_of(Path(name).read_text()).chains) for name in argv)
    if not used:
        print(__doc__ if not argv else "no TensorRT name used: nothing was checked")
        return 2
    lacking = [f"{name}: {text}" for name in argv for text in missing(Path(name).read_text())]
    print("\n".join([*lacking, f"{used} TensorRT names checked, {len(lacking)} missing"]))
    return 1 if lacking else 0


def _objects(tree: ast.AST) -> set[str]:
    """Names of variables and attributes that hold TensorRT objects, also those made from such objects."""
    objects: set[str] = set()
    for _ in range(3):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and _is_call_of(node.value, objects):
                objects.update(name for target in node.targets for name in _names_in(target))
    return objects - {"self"}


def _is_call_of(node: ast.AST, objects: set[str]) -> bool:
    """A call of trt.X(...), or of a method of a known object."""
    if not isinstance(node, ast.Call):
        return False
    function: ast.AST = node.func
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and (function.id in MODULE_NAMES or function.id in objects)


def _names_in(target: ast.AST) -> Iterator[str]:
    for leaf in ast.walk(target):
        if isinstance(leaf, (ast.Name, ast.Attribute)):
            yield _name_of(leaf) or ""


def _name_of(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _chain(node: ast.Attribute) -> tuple[str | None, tuple[str, ...]]:
    """Root and attributes of a dotted name; `self._trt.Builder` counts as `trt.Builder`."""
    parts, inner = [node.attr], node.value
    while isinstance(inner, ast.Attribute):
        parts.append(inner.attr)
        inner = inner.value
    parts.reverse()
    root = inner.id if isinstance(inner, ast.Name) else None
    if root == "self" and len(parts) > 1 and parts[0].lstrip("_") in MODULE_NAMES:
        return parts[0].lstrip("_"), tuple(parts[1:])
    return root, tuple(parts)


def _asked(call: ast.Call) -> set[str]:
    named = isinstance(call.func, ast.Name) and call.func.id in {"hasattr", "getattr"} and len(call.args) > 1
    return {str(call.args[1].value)} if named and isinstance(call.args[1], ast.Constant) else set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
