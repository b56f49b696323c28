"""Draw the rooms and their imports as an SVG.

python -m tests.draw_rooms docs/rooms.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.rooms import PURPOSE, ROOMS, VEHICLE, arrows

PLACES = {
    "benchmarks": (2, 0),
    "audit": (2, 1),
    "training": (1, 2),
    "export": (2, 2),
    "fleet": (3, 2),
    "sources": (0, 3),
    "models": (1.5, 3),
    "runtime": (3, 3),
    "pictures": (2.4, 4.1),
    "contract": (1.5, 5.1),
}
"""Column and row of each room."""

WIDTH, HEIGHT, COLUMN, ROW, MARGIN = 190, 54, 216, 98, 16
INK, LINE, CAR, ROOM = "#1f2933", "#52606d", "#d9f0e3", "#eef2f7"


def draw() -> str:
    """The picture, as the text of an SVG file."""
    columns = 1 + max(column for column, _ in PLACES.values())
    rows = 1 + max(row for _, row in PLACES.values())
    width, height = int(2 * MARGIN + columns * COLUMN - 26), int(2 * MARGIN + rows * ROW - 20)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{LINE}"/></marker></defs>',
    ]
    parts += [_arrow(start, end, exception) for start, end, exception in arrows()]
    parts += [_room(name) for name in ROOMS]
    note = (
        "green: travels to a vehicle, without torch · an arrow includes what lies beyond it · dashed: export/parity.py"
    )
    parts.append(f'<text x="{MARGIN}" y="{height - 8}" font-size="12" fill="{LINE}">{note}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _room(name: str) -> str:
    x, y = _corner(name)
    fill, centre = CAR if name in VEHICLE else ROOM, x + WIDTH / 2
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{fill}" stroke="{LINE}"/>'
        f'<text x="{centre:g}" y="{y + 23:g}" font-size="15" font-weight="bold" text-anchor="middle" fill="{INK}">'
        f"{name}/</text>"
        f'<text x="{centre:g}" y="{y + 42:g}" font-size="12" text-anchor="middle" fill="{INK}">{PURPOSE[name]}</text>'
    )


def _arrow(start: str, end: str, exception: bool) -> str:
    (x0, y0), (x1, y1) = _corner(start), _corner(end)
    lean = max(-0.42, min(0.42, (x1 - x0) / COLUMN * 0.3)) * WIDTH
    dash = ' stroke-dasharray="6 4"' if exception else ""
    return (
        f'<line x1="{x0 + WIDTH / 2 + lean:g}" y1="{y0 + HEIGHT:g}" x2="{x1 + WIDTH / 2 - lean:g}" y2="{y1 - 2:g}"'
        f' stroke="{LINE}" stroke-width="1.6"{dash} marker-end="url(#tip)"/>'
    )


def _corner(name: str) -> tuple[float, float]:
    column, row = PLACES[name]
    return MARGIN + column * COLUMN, MARGIN + row * ROW


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw())
