"""A bundle under construction: files in a folder that nobody sees yet, each measured before it counts.

    with replacing("bundle") as part:
        draft = from_bundle(part, Path("bundle"), "quick")
        draft.add_graphs(["int8"], draft.base())
        draft.write()

The folder takes the bundle's place when the block ends well; a failure changes nothing. No torch here: graphs of other
precisions are made from the one in fp32.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from contract.bundle import MANIFEST, FileEntry, Manifest, open_checked, read_manifest, write_manifest
from contract.errors import Refused
from contract.files import MAYBE_TEMPORARY, sha256_of, write_whole
from contract.parity import Reference, read_reference
from contract.trajectory import trajectory
from export.parity import FULL, QUICK, ParityPlan, measure
from export.precisions import BASE, NAMES, derive
from export.progress import progress

OF_A_BUNDLE = re.compile(
    rf"(manifest|verified)\.json{MAYBE_TEMPORARY}|reference\.npz|(step|trajectory|decoder|annotator)\.([\w.+-]+\.)?(onnx|engine)"
)
"""Names that a bundle is made of. The manifest isn't asked, since exporting again is what fixes a damaged one."""

OF_A_VOLUME = re.compile(r"lost\+found|\.[^/]*\.part")
"""What may lie in a mounted volume beside the bundle: the file system's own folder, and a bundle in the making."""


class Draft:
    """What is in the folder so far, and what its files are compared with."""

    def __init__(self, folder: Path, manifest: Manifest, reference: Reference, plan: ParityPlan) -> None:
        self.folder, self.manifest = folder, manifest
        self.reference, self.plan = reference, plan.within(len(reference.frames))

    def add(self, name: str, entry: FileEntry, parity: dict[str, Any] | None = None) -> None:
        """Add a file in the folder to the manifest."""
        files = {**self.manifest.files, name: entry}
        measured = {**self.manifest.parity, **({name: parity} if parity else {})}
        self.manifest = replace(self.manifest, files=files, parity=measured)

    def measure(self, name: str) -> None:
        """Compare a file with the reference; ParityError where it fails, and the draft is to be discarded."""
        batch = self.manifest.files[name].extra.get("batch")
        profile = (batch["min"], batch["opt"], batch["max"]) if batch else None
        with progress(f"verify {name}", self.plan.drawn(profile)) as advance:
            parity = measure(self.folder, self.manifest, name, self.reference, self.plan, advance)
        self.add(name, self.manifest.files[name], parity)

    def base(self) -> bytes:
        """The graph in fp32; Refused where the bundle has none."""
        if BASE not in self.manifest.files:
            raise Refused(
                f"the bundle has no {BASE} to make another precision of; export it again where torch is:"
                " python -m export CKPT.pt --precision fp32 fp16 int8"
            )
        return open_checked(self.folder, self.manifest, BASE)

    def lacking(self, precisions: Sequence[str]) -> list[str]:
        """The precisions that lack a graph."""
        return [p for p in precisions if any(name not in self.manifest.files for name in NAMES[p])]

    def add_graphs(self, precisions: Sequence[str], base: bytes) -> None:
        """Make, write and measure the graphs of these precisions that aren't there yet."""
        for precision in self.lacking(precisions):
            for graph in derive(precision, base, self.manifest):
                write_whole(self.folder / graph.name, graph.content)
                self.add(graph.name, graph.entry)
                self.measure(graph.name)

    def add_decoders(self, precisions: Sequence[str], base: bytes) -> None:
        """Write the decoder of a latent model in these precisions; it is measured with the steps before it."""
        for precision in precisions:
            (made,) = derive(precision, base, self.manifest)
            name = f"decoder.{precision}.onnx"
            write_whole(self.folder / name, made.content)
            self.add(name, made.entry)

    def add_trajectories(self) -> None:
        """Write and measure all steps of each step graph as one graph."""
        for name, entry in self.manifest.files.items():
            if name.startswith("step.") and name.endswith(".onnx"):
                step, whole = open_checked(self.folder, self.manifest, name), name.replace("step.", "trajectory.", 1)
                decoder = None
                if self.manifest.latent:
                    decoder = open_checked(self.folder, self.manifest, self.manifest.decoder_of(name))
                write_whole(self.folder / whole, trajectory(step, self.manifest.sampler.steps, decoder))
                extra = {key: value for key, value in entry.extra.items() if key == "for"}
                self.add(whole, FileEntry(sha256_of(self.folder / whole), entry.precision, extra))
                self.measure(whole)

    def write(self) -> None:
        """The manifest, last of all."""
        write_manifest(self.folder, self.manifest)


def from_bundle(part: Path, source: Path, level: str) -> Draft:
    """The same files again in `part`, all hashed; Refused where one is missing or altered."""
    manifest = read_manifest(source)
    for name in manifest.files:
        open_checked(source, manifest, name)
        link(source / name, part / name)
    return Draft(part, manifest, read_reference(source, manifest), FULL if level == "full" else QUICK)


def link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextlib.contextmanager
def replacing(folder: str | Path) -> Iterator[Path]:
    """A fresh folder that takes the place of `folder` when the block ends well, and vanishes when it doesn't."""
    target = Path(folder).resolve()
    check_replaceable(target)
    inside = _must_stay(target)
    part = (target if inside else target.parent) / f".{target.name}.{os.getpid()}.part"
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        yield part
        check_replaceable(target)
        (_move_into if inside else _put_in_place)(part, target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def check_replaceable(folder: Path) -> None:
    """Refused unless `folder` is absent, empty or holds nothing but a bundle's files."""
    if folder.is_dir():
        found = [path for path in folder.iterdir() if not OF_A_VOLUME.fullmatch(path.name)]
        others = sorted(path.name for path in found if path.is_dir() or not OF_A_BUNDLE.fullmatch(path.name))
        if others:
            raise Refused(f"{folder}: holds {others[0]!r}, which no bundle has; give another folder with -o")
    elif folder.exists():
        raise Refused(f"{folder}: a file; expected a folder for the bundle, give another with -o")


def _must_stay(target: Path) -> bool:
    """Whether the folder can't be replaced by another: it is a mount point, or what it lies in is read-only."""
    return target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))


def _move_into(part: Path, target: Path) -> None:
    """Put a new bundle's files in place of an old one's, the manifest last: until then the folder is no bundle."""
    (target / MANIFEST).unlink(missing_ok=True)
    for path in target.iterdir():
        if OF_A_BUNDLE.fullmatch(path.name):
            path.unlink()
    for path in sorted(part.iterdir(), key=lambda path: path.name == MANIFEST):
        os.rename(path, target / path.name)
    part.rmdir()


def _put_in_place(part: Path, target: Path) -> None:
    if not target.exists():
        os.rename(part, target)
        return
    old = part.with_suffix(".old.part")
    os.rename(target, old)
    try:
        os.rename(part, target)
    except BaseException:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
