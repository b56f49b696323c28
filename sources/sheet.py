"""Contact sheets of the rendered cabin: every condition for three people, or random drivers.

python -m sources.sheet -o build/conditions.png
python -m sources.sheet -o build/drivers.png --random 64
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract.cli import Parser, integer
from contract.errors import Unavailable, UsageError, run_command
from contract.field import Condition
from contract.progress import progress_bar
from pictures.image_grid import MAX_TILE, Tile, draw_grid, fits, in_rows, wrap, write_image

PROGRAM = "sources.sheet"
EXAMPLE = """example:
  python -m sources.sheet -o build/conditions.png
  python -m sources.sheet -o build/drivers.png --random 64 --domain pseudo-real
"""

PEOPLE: tuple[dict[str, Any], ...] = (
    {"gender": "female", "age_group": "young", "skin_tone": 0.15},
    {"gender": "male", "age_group": "middle", "skin_tone": 0.50},
    {"gender": "male", "age_group": "senior", "skin_tone": 0.90},
)
REST: dict[str, Any] = {
    "sensor": "rgb", "fatigue_level": "normal", "distraction_type": "none", "lighting": "day", "accessory": "none",
    "headwear": "none",
    "eye_openness": 0.9, "mouth_openness": 0.0, "gaze_yaw": 0.0, "gaze_pitch": 0.0, "head_yaw": 0.0, "head_pitch": 0.0,
}  # fmt: skip
CHANGES: tuple[dict[str, Any], ...] = (
    {}, {"sensor": "nir"}, {"lighting": "night", "sensor": "nir"}, {"lighting": "tunnel"},
    {"lighting": "tunnel", "sensor": "nir"},
    {"lighting": "backlight"}, {"lighting": "backlight", "sensor": "nir"}, {"accessory": "glasses"},
    {"accessory": "sunglasses"},
    {"accessory": "sunglasses", "sensor": "nir"}, {"accessory": "mask"}, {"headwear": "hat"}, {"fatigue_level": "mild"},
    {"fatigue_level": "moderate"}, {"fatigue_level": "severe"}, {"distraction_type": "phone"},
    {"distraction_type": "eating"},
    {"distraction_type": "adjusting"}, {"distraction_type": "other"}, {"eye_openness": 0.6}, {"eye_openness": 0.3},
    {"eye_openness": 0.0},
    {"mouth_openness": 0.5}, {"mouth_openness": 1.0}, {"gaze_yaw": -30.0}, {"gaze_yaw": 30.0},
    {"gaze_pitch": -20.0}, {"gaze_pitch": 20.0},
    {"head_yaw": -40.0}, {"head_yaw": 40.0}, {"head_pitch": -20.0}, {"head_pitch": 20.0},
)  # fmt: skip
"""What each picture of a person changes against REST."""

COLUMNS = 8


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    from sources.cabin.domains import DOMAINS

    parser = Parser(prog=f"python -m {PROGRAM}", description=__doc__ or "", epilog=EXAMPLE)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="a .png or .jpg")
    parser.add_argument(
        "--random", type=integer(1, 4096), metavar="N", help="N random drivers instead of every condition"
    )
    parser.add_argument(
        "--size", type=integer(16, MAX_TILE), default=128, help="side of a frame in pixels (default: 128)"
    )
    parser.add_argument(
        "--domain", choices=sorted(DOMAINS), default="cabin", help="people, cameras and cars (default: cabin)"
    )
    parser.add_argument("--seed", type=integer(0, 2**64 - 1), default=0, help="(default: 0)")
    parser.add_argument("--samples", type=integer(1, 4096), help="paths a pixel")
    args = parser.parse_args(argv)
    if args.output.suffix not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"{args.output}: expected a name that ends in .png, .jpg or .jpeg")
    return args


def run(args: argparse.Namespace) -> int:
    from sources.cabin.domains import DOMAINS

    try:
        from sources.cabin.driver import MOMENTS, Cabin
    except ImportError as error:
        raise Unavailable(f"{error.name or error} isn't installed; run: pip install '.[render]'") from error

    cabin = Cabin(args.size, DOMAINS[args.domain], args.samples)
    if args.random:
        indices = [MOMENTS * number for number in range(args.random)]
        conditions, subjects = cabin.conditions(args.seed, indices)
    else:
        changed = [{**REST, **person, **change} for person in PEOPLE for change in CHANGES]
        conditions = [dict(condition) for condition in changed]
        subjects = [number for number in range(len(PEOPLE)) for _ in CHANGES]
        indices = [MOMENTS * number for number in range(len(PEOPLE)) for _ in CHANGES]
    frames = [
        cabin.draw([condition], [subject], args.seed, [index]).frames[0]
        for condition, subject, index in progress_bar(
            list(zip(conditions, subjects, indices, strict=True)), unit="frame"
        )
    ]
    captions = (
        [brief(condition) for condition in conditions]
        if args.random
        else [change_of(change) for _ in PEOPLE for change in CHANGES]
    )
    fitting = fits(args.size)
    tiles = [Tile(frame, wrap(caption.split(), " ", fitting)) for frame, caption in zip(frames, captions, strict=True)]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_image(args.output, draw_grid(in_rows(tiles, COLUMNS), min_tile=1))
    return 0


def change_of(change: dict[str, Any]) -> str:
    return (
        " ".join(
            str(value) if isinstance(value, str) else f"{name.replace('_openness', '')} {value:g}"
            for name, value in change.items()
        )
        or "rest"
    )


def brief(condition: Condition) -> str:
    """A caption of what a class says: light, what is worn and done."""
    words = [str(condition[name]) for name in ("sensor", "lighting", "distraction_type", "accessory")]
    return " ".join(word for word in words if word != "none")


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
