"""Which importer reads a file of other software.

content, sha256 = load("model-10.pt")
imported = read_foreign(content, Given(image_size=64))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract.errors import UsageError
from models.importers import denoising_diffusion, state_dict
from models.importers.denoising_diffusion import read_denoising_diffusion
from models.importers.given import Given, Imported
from models.importers.own_module import read_own_module
from models.importers.state_dict import read_document
from models.importers.weights import tables
from models.safe_load import load_archive, load_tensors

FILES = {
    "document": (state_dict.KNOWN, read_document),
    "denoising-diffusion": (denoising_diffusion.KNOWN, read_denoising_diffusion),
}
"""Networks that are recognised by the names of their weights, and who reads them."""


def load(path: str | Path) -> tuple[Any, str]:
    """The content of a .pt, .ckpt or .safetensors file and its sha256."""
    if str(path).endswith(".safetensors"):
        return load_tensors(Path(path))
    return load_archive(path)


def read_foreign(content: object, given: Given) -> Imported:
    """The network in the content of a file; UsageError asks for what has to be given."""
    if given.network is not None:
        return read_own_module(content, given)
    arch = given.arch or recognise(content)
    if arch in FILES:
        return FILES[arch][1](content, given)
    if given.arch is not None:
        raise UsageError(f"--arch {given.arch}: expected one of {', '.join(FILES)} for a file without a description")
    count = sum(len(table) for _, table in tables(content))
    raise UsageError(
        f"{count} tensors of a network that isn't recognised by their names; look with --inspect, and add --network"
        " package.module:factory --schema FILE.json --image-size N, or --arch document for the source document's"
    )


def recognise(content: object) -> str | None:
    """Which of FILES has all its known names in the content, behind whatever prefix."""
    for arch, (known, _) in FILES.items():
        for _, table in tables(content):
            if all(any(name == end or name.endswith("." + end) for name in table) for end in known[:2]):
                return arch
    return None
