"""Which importer reads a file or folder of other software, and what such a file holds.

    imported, sha256 = read_foreign("model-10.pt", Given(image_size=64))
    inspect_file("last.ckpt")                     # {"weights": {...}, "settings": {...}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract.errors import EdgeError, UsageError
from models.importers import denoising_diffusion, state_dict
from models.importers.denoising_diffusion import read_denoising_diffusion
from models.importers.folder import read_folder
from models.importers.given import Given, Imported
from models.importers.own_module import read_own_module
from models.importers.state_dict import read_document
from models.importers.weights import plain_settings, tables
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


def inspect_file(path: str | Path, given: Given) -> dict[str, Any]:
    """What a file or folder holds, as JSON values: weights by place, settings, and what it would be imported as."""
    about: dict[str, Any] = {}
    imported: Imported | None = None
    content: Any = None
    if not Path(path).is_dir():
        content, about["sha256"] = load(path)
        about["weights"] = {
            ".".join(where) or "(top)": {"tensors": len(table), "numbers": sum(weight.numel() for weight in table.values())}
            for where, table in tables(content)
        }
        about["settings"] = plain_settings(content)
    try:
        if Path(path).is_dir():
            imported, about["sha256"] = read_folder(Path(path), given)
        else:
            imported = read_foreign(content, given)
    except EdgeError as error:
        return about | {"import": None, "missing": str(error)}
    about["import"] = {
        "kind": imported.kind,
        "image": list(imported.config.image),
        "schema": imported.schema.name,
        "timesteps": imported.diffusion.timesteps,
        "schedule": imported.diffusion.schedule,
        "prediction": imported.diffusion.prediction,
        "latent": imported.decoder is not None,
        "assumed": dict(imported.assumed),
    }
    return about
