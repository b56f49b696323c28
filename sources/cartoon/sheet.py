"""A picture of every condition that the cabin can draw: one tile for each class, and for the ends of each number.

python -m sources.cartoon.sheet -o build/cabin.png --size 128
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from contract.cli import Parser, integer
from contract.errors import run_command
from contract.field import Condition
from contract.files import write_whole
from contract.schemas import CABIN
from pictures.font import caption_font
from sources.cartoon.cabin import Cabin
from sources.cartoon.domains import DOMAINS

NEUTRAL: Condition = {
    "fatigue_level": "normal",
    "distraction_type": "none",
    "lighting": "day",
    "accessory": "none",
    "gender": "male",
    "age_group": "young",
    "headwear": "none",
    "eye_openness": 0.85,
    "mouth_openness": 0.05,
    "gaze_yaw": 0.0,
    "gaze_pitch": 0.0,
    "head_yaw": 0.0,
    "head_pitch": 0.0,
    "skin_tone": 0.3,
}
"""What a tile shows besides the one field that it is about."""

COLUMNS = 8
CAPTION = 14
"""Pixels of height for the caption of a tile."""

FEWEST_PIXELS = 128
"""Tiles are enlarged to at least this edge."""


def tiles() -> Iterator[tuple[str, Condition]]:
    """(caption, condition) of every tile: each field through its values, and the levels of fatigue as they come."""
    for field in CABIN.fields:
        values = field.values or (field.low, (field.low + field.high) / 2.0, field.high)
        for value in values:
            shown = value if isinstance(value, str) else f"{value:g}"
            yield f"{field.name.split('_type')[0]} {shown}", NEUTRAL | {field.name: value}
    for level, openness in zip(CABIN.field("fatigue_level").values, (0.85, 0.58, 0.32, 0.07), strict=True):
        yield f"{level}, eyes {openness:g}", NEUTRAL | {"fatigue_level": level, "eye_openness": openness}


def draw_sheet(size: int, domain: str, seed: int) -> Image.Image:
    """The sheet as a picture; each row shows one person."""
    named = list(tiles())
    cabin = Cabin(size, DOMAINS[domain], compiled=False)
    edge = size * -(-FEWEST_PIXELS // size)
    rows = -(-len(named) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * edge, rows * (edge + CAPTION)), "white")
    pen, font = ImageDraw.Draw(sheet), caption_font(10)
    for start in range(0, len(named), COLUMNS):
        part = named[start : start + COLUMNS]
        indices = range(start, start + len(part))
        row = start // COLUMNS
        frames = cabin.draw([condition for _, condition in part], [seed + row] * len(part), seed, indices).frames
        for column, (frame, (caption, _)) in enumerate(zip(frames, part, strict=True)):
            place = (column * edge, row * (edge + CAPTION))
            sheet.paste(Image.fromarray(np.asarray(frame)).resize((edge, edge), Image.Resampling.NEAREST), place)
            pen.text((place[0] + 3, place[1] + edge + 1), caption, fill="black", font=font)
    return sheet


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m sources.cartoon.sheet",
        description="Draw every condition of the cabin into one picture.",
        epilog="example: python -m sources.cartoon.sheet -o build/cabin.png --size 128",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("build/cabin.png"))
    parser.add_argument("--size", type=integer(16, 512), default=64, help="pixels of an edge (64)")
    parser.add_argument("--domain", choices=sorted(DOMAINS), default="cabin")
    parser.add_argument("--seed", type=integer(0, 10**9), default=20, help="who is drawn, and the noise (20)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    buffer = io.BytesIO()
    draw_sheet(args.size, args.domain, args.seed).save(buffer, format="PNG")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.output, buffer.getvalue())
    print(f"{args.output}: every condition at {args.size} px")
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command("sources.cartoon.sheet", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
