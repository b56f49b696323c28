"""From items to a picture: Mitsuba shapes, materials, lights and the camera, in the head's coordinates.

The head never moves in the renderer's world: camera, cabin and shoulders do. Hair, glasses and hats of a person
are therefore built once and used for every moment.

    shapes = {"skin": build_shape(item, "rgb")}
    sensor = build_sensor(camera, to_head, size=128)
    radiance = trace(build_scene(shapes, emitters, to_head), samples=8, seed=1, lenses=False, sensor=sensor)
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.errors import Unavailable
from sources.cabin.camera import Camera
from sources.cabin.surfaces import Item, Material, Strands, Surface

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

BUMP = 0.0022
"""Scale of a relief in millimetres for the renderer's bump map, in texture units."""
DEPTH = 3
"""Longest light path in bounces; behind lenses one more."""
LAST_STRAND = np.array([[0.0, 60.0, 60.0 + 0.001 * i] for i in range(4)])
"""A microscopic strand outside the cabin: the renderer reads past its table on a hit of a shape's last segment."""


def renderer() -> Any:
    """The mitsuba module with its variant set and one thread, or Unavailable."""
    try:
        import mitsuba
    except ImportError as error:
        raise Unavailable("mitsuba: the path tracer isn't installed; run `pip install '.[render]'`") from error
    if mitsuba.variant() != "scalar_rgb":
        mitsuba.set_variant("scalar_rgb")
        mitsuba.set_log_level(mitsuba.LogLevel.Error)
        import drjit

        drjit.set_thread_count(1)  # frames are spread over processes
    return mitsuba


@dataclass(frozen=True)
class Transform:
    """A rigid motion x -> rotation x + offset."""

    rotation: Floats
    offset: Floats

    def __call__(self, points: Floats) -> Floats:
        return np.asarray(points @ self.rotation.T + self.offset)

    def inverse(self) -> Transform:
        return Transform(self.rotation.T, -self.rotation.T @ self.offset)


def build_shape(item: Item, sensor: str) -> Any:
    """A Mitsuba shape of an item in one band; `to_head` must have been applied to it."""
    return _build_strands(item, sensor) if isinstance(item, Strands) else _build_mesh(item, sensor)


def _build_mesh(item: Surface, sensor: str) -> Any:
    mi = renderer()
    corners = item.vertices[item.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    faces = item.faces[area > 1e-14]
    if not (np.isfinite(item.vertices).all() and len(faces)):
        raise ValueError(f"surface {item.name or item.label}: no finite triangles")
    properties = mi.Properties()
    properties["mesh_bsdf"] = mi.load_dict(_bsdf(item.material, sensor))
    mesh = mi.Mesh(
        item.name or item.label, len(item.vertices), len(faces), has_vertex_normals=not item.flat,
        has_vertex_texcoords=True, props=properties,
    )  # fmt: skip
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = np.ascontiguousarray(item.vertices, dtype=np.float32).ravel()
    parameters["faces"] = np.ascontiguousarray(faces, dtype=np.uint32).ravel()
    parameters["vertex_texcoords"] = np.ascontiguousarray(item.uv, dtype=np.float32).ravel()
    if not item.flat:
        parameters["vertex_normals"] = np.ascontiguousarray(item.normals(), dtype=np.float32).ravel()
    parameters.update()
    return mesh


def _build_strands(item: Strands, sensor: str) -> Any:
    mi = renderer()
    first, last = 2 * item.points[:, :1] - item.points[:, 1:2], 2 * item.points[:, -1:] - item.points[:, -2:-1]
    points = np.concatenate([first, item.points, last], axis=1)
    radius = np.concatenate([item.radius[:, :1], item.radius, item.radius[:, -1:]], axis=1)
    table = np.concatenate([points, radius[..., None]], axis=-1)
    if not np.isfinite(table).all():
        raise ValueError(f"strands {item.name or item.label}: not finite")
    strand = "%.6f %.6f %.6f %.6f\n" * table.shape[1] + "\n"
    text = strand * len(table) % tuple(table.ravel().tolist())
    text += "\n".join("{:.6f} {:.6f} {:.6f} 0.000001".format(*p) for p in LAST_STRAND.tolist()) + "\n"
    memory = Path("/dev/shm")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=memory if memory.is_dir() else None) as file:
        file.write(text)
        file.flush()
        return mi.load_dict({"type": "bsplinecurve", "filename": file.name, "bsdf": _bsdf(item.material, sensor)})


def _texture(value: npt.NDArray[Any]) -> dict[str, Any]:
    mi = renderer()
    if value.ndim == 1:
        return {"type": "rgb", "value": [float(v) for v in value]}
    bitmap = mi.Bitmap(np.ascontiguousarray(value, dtype=np.float32))
    return {"type": "bitmap", "bitmap": bitmap, "raw": True, "wrap_mode": "clamp"}


def _bsdf(material: Material, sensor: str) -> dict[str, Any]:
    """The renderer's description of a material in one band."""
    if material.transmittance is not None:
        tint = material.transmittance[1 if sensor == "nir" else 0]
        return {
            "type": "thindielectric",
            "specular_transmittance": {"type": "rgb", "value": [float(tint)] * 3},
            "specular_reflectance": {"type": "rgb", "value": [float(material.specular)] * 3},
        }
    bsdf: dict[str, Any] = {
        "type": "principled",
        "base_color": _texture(material.colour(sensor)),
        "roughness": float(material.roughness),
        "specular": float(material.specular),
    }
    for name in ("sheen", "clearcoat", "flatness"):
        if getattr(material, name):
            bsdf[name] = float(getattr(material, name))
    if material.clearcoat:
        bsdf["clearcoat_gloss"] = 0.97
    if material.relief is not None:
        relief = _texture(np.asarray(material.relief, dtype=np.float32)[..., None])
        bsdf = {"type": "bumpmap", "arbitrary": relief, "scale": BUMP, "bsdf": bsdf}
    return {"type": "twosided", "bsdf": bsdf}


def build_scene(shapes: Mapping[str, Any], emitters: Mapping[str, Mapping[str, Any]], to_head: Transform) -> Any:
    """A Mitsuba scene; shapes are in head coordinates, emitters in the world's."""
    mi = renderer()
    scene: dict[str, Any] = {"type": "scene"} | dict(shapes)
    for name, emitter in emitters.items():
        scene[name] = place_emitter(dict(emitter), to_head)
    # Threads and merging would change the order of the lights, and with it the samples.
    return mi.load_dict(scene, parallel=False, optimize=False)


def build_sensor(camera: Camera, to_head: Transform, size: int, crop: tuple[int, int, int, int] | None = None) -> Any:
    """A camera of `size` pixels along each side; of these it draws `crop` alone: left, top, width, height."""
    mi = renderer()
    origin = to_head(camera.origin)
    forward, up = to_head.rotation @ camera.axes[:, 1], to_head.rotation @ camera.axes[:, 2]
    left, top, width, height = crop or (0, 0, size, size)
    return mi.load_dict(
        {
            "type": "perspective",
            "fov": float(np.degrees(2.0 * np.arctan(camera.tangent))),
            "fov_axis": "x",
            "near_clip": 0.02,
            "far_clip": 30.0,
            "principal_point_offset_x": -0.5 * camera.shift[0],
            "principal_point_offset_y": 0.5 * camera.shift[1],
            "to_world": mi.ScalarTransform4f().look_at(
                origin=[float(v) for v in origin],
                target=[float(v) for v in origin + forward],
                up=[float(v) for v in up],
            ),
            "sampler": {"type": "multijitter", "sample_count": 4},
            "film": {
                "type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"},
                "crop_offset_x": left, "crop_offset_y": top, "crop_width": width, "crop_height": height,
                "pixel_format": "rgb", "component_format": "float32",
            },
        }
    )  # fmt: skip


def place_emitter(emitter: dict[str, Any], to_head: Transform) -> dict[str, Any]:
    """An emitter's description with its pose (`at`, `facing`, `size`, or `direction`) in head coordinates."""
    mi = renderer()
    if "direction" in emitter:
        direction = to_head.rotation @ np.asarray(emitter.pop("direction"))
        return {**emitter, "direction": [float(v) for v in direction]}
    at = to_head(np.asarray(emitter.pop("at"), dtype=np.float64))
    if emitter["type"] == "sphere":
        return {**emitter, "center": [float(v) for v in at]}
    normal = to_head.rotation @ np.asarray(emitter.pop("facing"), dtype=np.float64)
    up = to_head.rotation @ np.array([0.0, 0.0, 1.0])
    if abs(float(normal @ up)) > 0.95 * float(np.linalg.norm(normal)):
        up = to_head.rotation @ np.array([0.0, 1.0, 0.0])
    width, height = emitter.pop("size")
    look = mi.ScalarTransform4f().look_at(
        origin=[float(v) for v in at], target=[float(v) for v in at + normal], up=[float(v) for v in up]
    )
    return {**emitter, "to_world": look @ mi.ScalarTransform4f().scale([width / 2, height / 2, 1.0])}


def trace(scene: Any, samples: int, seed: int, lenses: bool, sensor: Any) -> Image:
    """Radiance: float32 [H, W, 3]. The same scene, sensor, samples and seed give the same picture.

    `lenses` lets shadow rays pass through thin glass, at some cost.
    """
    mi = renderer()
    depth = DEPTH + 1 if lenses else DEPTH
    integrator = mi.load_dict({"type": "volpath" if lenses else "path", "max_depth": depth, "rr_depth": 3})
    found = mi.render(scene, sensor=sensor, integrator=integrator, spp=samples, seed=seed)
    return whole(np.array(found, dtype=np.float32)[..., :3])


def whole(radiance: Image) -> Image:
    """Pixels that a degenerate path made infinite or undefined, replaced by the median of their neighbours."""
    broken = np.asarray(~np.isfinite(radiance).all(axis=-1))
    if not broken.any():
        return radiance
    patched = np.where(broken[..., None], np.nan, radiance)
    around = np.pad(patched, ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    for row, column in np.argwhere(broken):
        near = around[row : row + 3, column : column + 3].reshape(-1, radiance.shape[-1])
        known = near[np.isfinite(near).all(axis=-1)]
        patched[row, column] = np.median(known, axis=0) if len(known) else 0.0
    return np.asarray(patched, dtype=np.float32)
