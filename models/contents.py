"""What a checkpoint holds, whoever wrote it: weights by place, settings, and what it would be exported as.

describe_checkpoint("last.ckpt", Given())     # {"sha256": ..., "weights": {...}, "export": {...}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract.errors import EdgeError, Unavailable
from models.checkpoint import read_checkpoint
from models.importers.given import Given
from models.importers.reader import load
from models.importers.weights import plain_settings, tables


def describe_checkpoint(path: str | Path, given: Given) -> dict[str, Any]:
    """JSON values; `export` is null where something is `missing`. Refused for files that can't be opened at all."""
    about = {} if Path(path).is_dir() else _describe_file(path)
    try:
        checkpoint = read_checkpoint(path, given)
    except Unavailable:
        raise
    except EdgeError as error:
        return about | {"export": None, "missing": str(error)}
    about["export"] = {
        "kind": checkpoint.imported.kind if checkpoint.imported else "checkpoint of this project",
        "network": checkpoint.config.arch,
        "image": list(checkpoint.config.image),
        "schema": checkpoint.schema.name,
        "timesteps": checkpoint.diffusion.timesteps,
        "schedule": checkpoint.diffusion.schedule,
        "prediction": checkpoint.diffusion.prediction,
        "latent": checkpoint.imported is not None and checkpoint.imported.decoder is not None,
        "assumed": dict(checkpoint.assumed),
    }
    return about


def _describe_file(path: str | Path) -> dict[str, Any]:
    content, sha256 = load(path)
    sizes = {
        ".".join(where) or "(top)": {"tensors": len(table), "numbers": sum(t.numel() for t in table.values())}
        for where, table in tables(content)
    }
    return {"sha256": sha256, "weights": sizes, "settings": plain_settings(content)}
