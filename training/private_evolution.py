"""Evolve a renderer's parameters toward private frames by noisy votes: differential privacy without training.

    python -m training.private_evolution build/private -o build/evolved --count 2000 --epsilon 1 --unit driver

The same command goes on after an interruption, and votes on no round twice.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.cli import Parser, integer
from contract.errors import UsageError, run_command
from contract.privacy_budget import UNITS
from sources.base import Landmarks
from sources.drivers import read_keys, without_drivers
from sources.imagefolder import read_source
from sources.options import add_schema_flag
from sources.shards import ShardDescription, ShardWriter, read_description
from training.accounting import Budget, gaussian_noise
from training.dp import unit_rows
from training.evolution import EvolutionRecipe, Evolved, evolve
from training.population import read_population, write_population
from training.simulators import SIMULATORS, Simulator, open_simulator

PROGRAM = "python -m training.private_evolution"

STATE = ".evolution.npz"
"""Beside the output folder until all rounds are done: where the same command goes on."""


def write_evolved(folder: Path, evolved: Evolved, simulator: Simulator, origin: dict[str, Any]) -> None:
    """A folder of shards as training and audits read it, with the budget in its description."""
    conditions = [scene.condition for scene in evolved.scenes]
    schema, count = simulator.schema, len(conditions)
    description = ShardDescription(schema, Landmarks(), count, origin)
    arrays: dict[str, npt.NDArray[Any]] = {
        "frames": evolved.frames,
        "conditions": schema.encode(conditions),
        "points": np.zeros((count, 0, 2), np.float32),
        "hidden": np.array([[name in schema.hidden(each) for name in schema.names] for each in conditions]),
        "subjects": np.array([scene.person for scene in evolved.scenes]),
    }
    ShardWriter(folder, description).write(0, arrays)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    default = EvolutionRecipe()
    example = f"example: {PROGRAM} build/private -o build/evolved --count 2000 --epsilon 1 --unit driver"
    parser = Parser(prog=PROGRAM, description="Evolve a renderer toward private frames.", epilog=example)
    add = parser.add_argument
    add("data", type=Path, metavar="FOLDER", help="private frames")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="rendered frames, as shards")
    add("--count", type=integer(10, 10**6), default=default.count, metavar="N", help="frames (1000)")
    add("--scenes", type=integer(2, 10**6), default=default.scenes, metavar="N", help="voted on in a round (100)")
    add("--rounds", type=integer(1, 1000), default=default.rounds, metavar="N", help="of votes (5)")
    add("--epsilon", type=float, required=True, metavar="E", help="what may be given away of one unit")
    add("--delta", type=float, default=1e-5, metavar="D", help="(1e-5)")
    add("--unit", choices=UNITS, default="driver", help="whose contribution is bounded (driver)")
    add("--workers", type=integer(1, 256), default=os.cpu_count() or 1, help="processes that render (all cores)")
    add("--simulator", choices=SIMULATORS, default=SIMULATORS[0], help="(cabin)")
    add_schema_flag(add)
    add("--exclude-drivers", type=Path, metavar="FILE", help="keys of drivers to leave out, one a line")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    budget, state = Budget(args.epsilon, args.delta, args.unit), args.output.with_name(args.output.name + STATE)
    begun = state.is_file()  # what it was stopped at, or came to, may lie there
    if args.output.exists() and not begun and (not args.output.is_dir() or any(args.output.iterdir())):
        raise UsageError(f"{args.output}: exists and isn't an empty folder; give another with -o")
    private = read_source(args.data, args.schema)
    if args.exclude_drivers:
        private = without_drivers(private, read_keys(args.exclude_drivers))
    simulator = open_simulator(args.simulator, private.image, args.workers)
    recipe = replace(EvolutionRecipe(), count=args.count, scenes=args.scenes, rounds=args.rounds)
    people = {"renderer": args.simulator, "domain": simulator.domain}
    settings = {"data": private.fingerprint, **people, **asdict(budget), **asdict(recipe)}
    population = read_population(state, settings)
    if begun and any(args.output.glob("shard-*")):  # stopped when all was done: another release would spend again
        return _finish(args, state)
    warn_of_noise(len(unit_rows(private, budget.unit)), budget, recipe)
    state.parent.mkdir(parents=True, exist_ok=True)
    evolved = evolve(
        private, simulator, budget, recipe, None, population, lambda found: write_population(state, found, settings)
    )
    origin = people | {"evolution": asdict(recipe) | {"noise": evolved.noise}}
    write_evolved(args.output, evolved, simulator, origin | budget.to_lineage(evolved.epsilon))
    return _finish(args, state)


def _finish(args: argparse.Namespace, state: Path) -> int:
    state.unlink()
    epsilon = read_description(args.output).origin["epsilon"]
    spent = f"epsilon {epsilon:.4g} at delta {args.delta:g} for each {args.unit}"
    print(f"{args.output}: {args.count} frames; {spent}")
    return 0


def warn_of_noise(units: int, budget: Budget, recipe: EvolutionRecipe) -> None:
    """Tell whoever holds the private frames that votes drown in noise; what is released doesn't say so."""
    votes, noise = units / recipe.scenes, gaussian_noise(budget, recipe.rounds)
    if votes < noise:
        text = f"{votes:.3g} votes a scene, and noise of {noise:.3g}; lower --scenes or --rounds, or raise --epsilon"
        print(f"training.private_evolution: {text}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("training.private_evolution", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
