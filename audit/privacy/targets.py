"""What the command line names, opened: a model to ask, frames to search, shadows, canaries, and what is proven of it.

targets, about, proven = open_targets(args, evidence)
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from audit.fidelity.inputs import open_source
from audit.fidelity.runs import RunFilter
from audit.fidelity.sample_cache import cached_samples
from audit.lineage.model_lineage import read_model_lineage
from audit.privacy.attack import Indices
from audit.privacy.audit import Generated, Targets
from audit.privacy.canary_files import read_canaries
from audit.privacy.evidence import Evidence
from audit.privacy.model import open_model
from audit.privacy.shadow_models import read_shadows
from contract.bundle import MANIFEST
from contract.dataset import DESCRIPTION as DATASET
from contract.driver_hashes import lists_drivers, seen_drivers
from contract.errors import Refused
from contract.files import read_json
from contract.noise import stream
from contract.privacy_budget import budget_of
from sources.imagefolder import read_source
from sources.shards import DESCRIPTION


def open_targets(args: argparse.Namespace, evidence: Evidence) -> tuple[Targets, dict[str, Any], dict[str, Any] | None]:
    """Everything to attack, what the report says of it, and epsilon with delta and unit where they are proven."""
    path: Path = args.input
    about: dict[str, Any] = {"input": str(path), "members": str(args.members), "non_members": str(args.non_members)}
    about |= {"seed": args.seed, "frames": {"members": int(evidence.members.sum()), "all": len(evidence.members)}}
    if path.is_dir() and not (path / MANIFEST).is_file():
        generated = read_generated(path, evidence)
        return Targets(generated=generated), about, proven_epsilon(_description(path))
    model = open_model(path, args.steps, args.device)
    if model.image != evidence.image or not model.schema.encodes_like(evidence.schema):
        raise Refused(f"{path}: draws other frames than {args.members} holds; give the frames that it was trained on")
    lineage = read_model_lineage(path).lineage
    about["members_in_lineage"] = confirm_members(path, lineage, evidence)
    shadows = read_shadows(args.shadows, evidence, model, args.device) if args.shadows else None
    canaries = read_canaries(args.canaries, evidence) if args.canaries else None
    made = read_generated(args.generated, evidence) if args.generated else draw(args, evidence)
    proven = proven_epsilon(lineage)
    delta = {} if proven is None else {"delta": proven["delta"]}
    features, own = _features(path, evidence, made)
    if made is not None and own is not None:
        made = replace(made, features=own)
    return Targets(model, shadows, made, canaries, features, **delta), about, proven


def confirm_members(path: Path, lineage: Mapping[str, Any], evidence: Evidence) -> dict[str, int] | None:
    """How many of the members' drivers the lineage names, of how many; None where it doesn't say.

    Raises Refused where it names none of them, or one among the non-members: then no figure would mean anything.
    """
    inside, outside = ({evidence.keys[row] for row in np.flatnonzero(side)} for side in evidence.sides)
    if seen := seen_drivers(lineage, outside):
        raise Refused(f"{path}: was trained on {len(seen)} drivers among the non-members, such as {seen[0]}")
    confirmed, listed = len(seen_drivers(lineage, inside)), lists_drivers(lineage)
    if listed and not confirmed:
        raise Refused(f"{path}: was trained on no driver among the members; give frames that it was trained on")
    return {"drivers": len(inside), "confirmed": confirmed} if listed or confirmed == len(inside) else None


def read_generated(folder: Path, evidence: Evidence) -> Generated:
    """The frames of a data set; Refused where they aren't of the members' kind."""
    data = read_source(folder, evidence.schema.name)
    if data.image != evidence.image or not data.schema.encodes_like(evidence.schema):
        raise Refused(f"{folder}: frames of another size or schema than the members'; give a data set of the same kind")
    return Generated(data.frames, data.conditions)


def draw(args: argparse.Namespace, evidence: Evidence) -> Generated | None:
    """Frames of the evidence's own conditions, two of each by default: what a copy would be drawn for.

    Those of both sides equally often: else frames would lie nearer to one side by what was asked for.
    """
    count = 2 * len(evidence.conditions) if args.draw is None else args.draw
    if count == 0:
        return None
    source = open_source(args.input, args.seed)
    chosen = source.runs(RunFilter(None if args.input.is_dir() else (_own_steps(source),)))[0]
    rows = rows_to_draw(evidence, count)
    vectors = evidence.conditions[rows]
    with source.drawer(chosen) as drawer:
        frames = cached_samples(args.output / "runs" / chosen.digest, drawer, vectors, title="generated frames")
    return Generated(frames, vectors, rows)


def rows_to_draw(evidence: Evidence, count: int) -> Indices:
    """Every row of the evidence equally often, in an order that the seed draws: [count]."""
    generator = stream(evidence.seed, len(evidence.members), 0)
    turns = -(-count // len(evidence.members))
    return np.concatenate([generator.permutation(len(evidence.members)) for _ in range(turns)])[:count]


def proven_epsilon(lineage: Mapping[str, Any]) -> dict[str, Any] | None:
    """Epsilon, delta and unit where an accountant proved them, None otherwise; Refused for an odd budget."""
    try:
        budget = budget_of(lineage)
    except ValueError as error:
        raise Refused(f"lineage: {error}") from error
    return budget._asdict() if budget else None


def _description(folder: Path) -> Mapping[str, Any]:
    """What a data set says of how it was made: the runtime's description, or the origin of shards."""
    if (folder / DATASET).is_file():
        return read_json(folder / DATASET)
    origin = read_json(folder / DESCRIPTION).get("origin") if (folder / DESCRIPTION).is_file() else None
    return origin if isinstance(origin, Mapping) else {}


def _own_steps(source: Any) -> int:
    return int(source.checkpoint.sampler.steps)


def _features(path: Path, evidence: Evidence, generated: Generated | None) -> tuple[Any, Any]:
    """Features of the evidence and of the generated frames by the input's own annotator, where it has one."""
    if generated is None:
        return None, None
    annotate = open_source(path).annotator()
    if annotate is None:
        return None, None
    return annotate(evidence.frames).features, annotate(generated.frames).features
