"""The runs of a bundle: its sampler is baked in, so they differ in precision alone. torch isn't needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.fidelity.runs import Annotate, Draw, Run, RunFilter
from contract.bundle import ANNOTATORS, digest_of, read_manifest
from contract.errors import UsageError
from runtime.annotator import Annotator
from runtime.backends.registry import BACKENDS
from runtime.generator import Generator


class BundleSource:
    """Draws through the runtime, as a vehicle would."""

    fixed = True

    def __init__(self, path: Path, seed: int = 0, batch: int | None = None, backend: str = "cpu") -> None:
        self.manifest = read_manifest(path)
        self.path, self.name = path, path.resolve().name
        self.schema, self.image = self.manifest.schema, self.manifest.image
        self.lineage = self.manifest.source.get("lineage")
        self._seed, self._batch, self._backend = seed, batch, backend

    def runs(self, wanted: RunFilter) -> list[Run]:
        """One run for each precision; UsageError for what isn't baked in."""
        sampler = self.manifest.sampler
        wanted.check_fixed(self.path, sampler.kind, sampler.steps, sampler.guidance)
        files = self._files()
        chosen = list(files) if wanted.precisions is None else [p for p in wanted.precisions if p in files]
        if not chosen:
            there = ", ".join(files) or "none"
            raise UsageError(f"--precision: {self.path} has no such step graph for {self._backend}, only {there}")
        return [self._run(precision, files[precision]) for precision in chosen]

    @contextmanager
    def drawer(self, run: Run) -> Iterator[Draw]:
        """The opened engine of a run's precision."""
        opened = Generator.open(self.path, self._backend, run.precision, self._batch, annotator="off")
        with opened as generator:
            yield lambda vectors, indices: generator.generate(vectors, self._seed, indices.start)

    def annotator(self) -> Annotate | None:
        """The bundle's annotator, fp32."""
        if ANNOTATORS["fp32"] not in self.manifest.files:
            return None
        return Annotator.open(self.path, self.manifest, "fp32").annotate

    def _files(self) -> dict[str, str]:
        """File of each precision that the backend runs."""
        precisions = [entry.precision for entry in self.manifest.files.values() if entry.precision]
        found = {precision: BACKENDS[self._backend].find(self.manifest, precision) for precision in precisions}
        return {precision: files[0] for precision, files in found.items() if files}

    def _run(self, precision: str, file: str) -> Run:
        sampler = self.manifest.sampler
        content = digest_of({"frames": self.manifest.frames_digest(file), "backend": self._backend})
        return Run(self.name, content, sampler.kind, sampler.steps, precision, sampler.guidance, self._seed)
