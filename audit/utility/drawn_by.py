"""Whether what drew the synthetic frames learnt from the drivers that are tested: its gain would be memory.

unseen = learnt_from_none(folder, tested, [read_model_lineage(Path("bundle"))])      # True, or None where nobody knows
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audit.lineage.model_lineage import ModelLineage
from audit.utility.inputs import RENDERED, LabelledSet, provenance
from audit.utility.plan import Splits
from contract.dataset import is_drawn, read_description
from contract.driver_hashes import lists_drivers, seen_drivers
from contract.errors import Refused
from sources.drivers import driver_keys


def drivers_tested(real: LabelledSet, splits: Splits) -> list[str]:
    """Keys of the drivers by whose frames the best step is chosen, and whose frames are scored."""
    keys = driver_keys(real.frames) or []
    return sorted({keys[row] for rows in (splits.validation, splits.test) for row in rows})


def checkpoints_of(folder: Path) -> list[str | None]:
    """sha256 of each checkpoint that drew frames of a folder, None where what learnt from drivers isn't named.

    [] for frames that were rendered without looking at any: private evolution looks, and spends an epsilon on it.
    """
    if is_drawn(folder):
        return list(read_description(folder).checkpoints)
    about = provenance(folder)
    return [] if about["origin"] == RENDERED and about["epsilon"] is None else [about["checkpoint"]]


def refuse_strangers(models: Sequence[ModelLineage], folders: Sequence[Path]) -> None:
    """Refused where a model drew no frame of any of the folders."""
    named = {sha256 for folder in folders for sha256 in checkpoints_of(folder) if sha256}
    for model in models:
        if model.checkpoint not in named:
            found = ", ".join(sorted(sha256[:12] for sha256 in named)) or "none that is named"
            raise Refused(f"--drawn-by: {model.path} drew none of the frames, which come from the checkpoint {found}")


def learnt_from_none(folder: Path, tested: Sequence[str], models: Sequence[ModelLineage]) -> bool | None:
    """True where nothing that drew a folder's frames was trained on a tested driver; None where that isn't known.

    Raises Refused where one of the models was.
    """
    named = checkpoints_of(folder)
    drew = {model.checkpoint: model for model in models if model.checkpoint and model.checkpoint in named}
    for model in drew.values():
        if seen := seen_drivers(model.complete, tested):
            raise Refused(
                f"{folder}: {model.path} drew it, and was trained on {len(seen)} of the tested drivers, such as"
                f" {seen[0]}; train one with --exclude-drivers"
            )
    known = all(sha256 in drew and lists_drivers(drew[sha256].complete) for sha256 in named)
    return True if known else None
