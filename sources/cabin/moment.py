"""One frame's scene: pose, expression, gesture, clothes, car, camera and light around a sitter.

moment = compose(sitter, condition, domain, seed, index, sitting)
shapes, emitters = moment.shapes(), moment.emitters()
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.field import Condition
from sources.cabin.accessories import Accessory, wear
from sources.cabin.assembly import Transform, build_shape
from sources.cabin.camera import Camera
from sources.cabin.clothes import Wardrobe, belt, dress
from sources.cabin.domains import Domain
from sources.cabin.eyes import EyeLook
from sources.cabin.face import CHIN, LOWER_LIP, UPPER_LIP, Expression, Measured
from sources.cabin.gesture import Features, Gesture
from sources.cabin.gestures import perform
from sources.cabin.hair import REACH
from sources.cabin.headwear import Hat
from sources.cabin.interior import Interior, belt_anchor, furnish
from sources.cabin.lights import Lights
from sources.cabin.sensor import Optics
from sources.cabin.sitter import Sitter
from sources.cabin.skeleton import head_rotation, head_turns
from sources.cabin.streams import CAMERA, MOMENT, between, stream
from sources.cabin.surfaces import Item, Surface

Floats = npt.NDArray[np.float64]

KEYS = {"day": 0.33, "night": 0.34, "tunnel": 0.30, "backlight": 0.29}
"""Linear value that the face is exposed to, by light."""
HAIR_AT_EARS = 0.012
"""How far long hair keeps a phone off the ear, metres."""
FATIGUE = {"normal": 0.0, "mild": 0.40, "moderate": 0.70, "severe": 1.0}


@dataclass(frozen=True)
class Moment:
    """A scene before it is rendered. Items are in head coordinates."""

    sitter: Sitter
    condition: Condition
    items: list[Item]
    hat: Hat | None
    moved: Floats
    """The face's vertices [V, 3] in head coordinates, neck and body posed"""
    expression: Expression
    measured: Measured
    to_head: Transform
    camera: Camera
    lights: Lights
    interior: Interior
    optics: Optics

    @property
    def sensor(self) -> str:
        return str(self.condition["sensor"])

    def shapes(self) -> dict[str, Any]:
        """The renderer's shapes by name."""
        built = {item.name: build_shape(item, self.sensor) for item in self.items}
        return built | self.sitter.worn(self.hat, self.sensor)

    def labels(self) -> dict[str, str]:
        """Class of each shape by its name; hair and hat are told by their names."""
        return {item.name: item.label for item in self.items}

    def emitters(self) -> dict[str, dict[str, Any]]:
        return self.lights.emitters(self.camera, self.sitter.eyes, self.interior)

    def to_world(self, points: Floats) -> Floats:
        return self.to_head.inverse()(points)

    def face_at(self) -> Floats:
        """Where the middle of the face lies in the picture, as shares of width and height."""
        centre = self.sitter.eyes + np.array([0.0, -0.02, -0.025])
        return np.asarray(self.camera.project(self.to_world(centre[None]))[0])


def compose(sitter: Sitter, condition: Condition, domain: Domain, seed: int, index: int, sitting: int) -> Moment:
    """Everything that frame `index` of a run shows; clothes, car and camera belong to the `sitting`."""
    sensor, lighting = str(condition["sensor"]), str(condition["lighting"])
    fatigue = FATIGUE[str(condition["fatigue_level"])]
    own = stream(MOMENT, seed, index)
    sway = own.standard_normal(12)
    interior = _interior(seed, sitting, domain.shifted_cars)
    camera, optics, lamp_gap = _camera(sitter, domain, seed, index, sitting, sensor, lighting, interior.side)
    lights = Lights.draw(lighting, sensor, seed, index, lamp_gap)

    expression = _expression(condition, fatigue, own)
    moved, measured = sitter.face.express(expression)
    rotation = head_rotation(
        camera.axes,
        float(condition["head_yaw"]),
        float(condition["head_pitch"]),
        2.5 * sway[0] + 4.0 * fatigue * sway[1],
    )
    turns = head_turns(rotation, lean=1.8 * sway[2], slouch=1.5 * sway[3] + 5.0 * fatigue)
    _, heads = sitter.rig.forward(turns)
    bone = sitter.layout.anatomy.bones["head"]
    rest = sitter.rig.rest[bone, 0]
    to_world = Transform(rotation, heads[bone] - rotation @ rest)
    to_head = to_world.inverse()

    aim = to_world(sitter.eyes + np.array([0.0, -0.015, -0.012]))
    camera = camera.aimed(
        aim, (domain.jitter * float(np.clip(sway[5], -1.5, 1.5)), domain.jitter * float(np.clip(sway[6], -1.5, 1.5)))
    )
    gesture = Gesture.draw(str(condition["distraction_type"]), seed, index, interior.side)
    things: list[Surface] = []
    if gesture is not None:
        turns, things = perform(gesture, sitter.rig, turns, to_world, _features(sitter, moved), camera)
    posed = sitter.rig.pose(turns, moved)
    look = EyeLook(
        pupil=float(np.clip((0.52 if lighting in ("night", "tunnel") else 0.36) + 0.05 * sway[4], 0.25, 0.65)),
        redness=0.05 + 0.95 * fatigue,
        glow=lights.glow,
    )
    hat = Hat.draw(seed, sitting) if condition["headwear"] == "hat" else None
    local = to_head(posed)
    items: list[Item] = sitter.features(local, expression, sensor, fatigue, look)
    items += wear(Accessory.draw(str(condition["accessory"]), seed, sitting), sitter.face, sitter.scalp, local)
    items += things
    items += [
        part.moved(to_head.rotation, to_head.offset)
        for part in _body(sitter, Wardrobe.draw(seed, sitting), interior, posed, gesture)
    ]
    items += [part.moved(to_head.rotation, to_head.offset) for part in _car(interior, tuple(sitter.eyes.tolist()))]
    return Moment(sitter, condition, items, hat, local, expression, measured, to_head, camera, lights, interior, optics)


@lru_cache(maxsize=4)
def _interior(seed: int, sitting: int, shifted: bool) -> Interior:
    return Interior.draw(seed, sitting, shifted)


@lru_cache(maxsize=2)
def _car(interior: Interior, eyes: tuple[float, ...]) -> list[Surface]:
    """The car of a sitting with its normals, in world coordinates."""
    return [replace(part, known=part.normals()) for part in furnish(interior, np.array(eyes))]


def _camera(
    sitter: Sitter, domain: Domain, seed: int, index: int, sitting: int, sensor: str, lighting: str, side: float
) -> tuple[Camera, Optics, float]:
    """The sitting's camera, this frame's optics, and how far the lamps are from the lens."""
    own = stream(CAMERA, seed, sitting)
    moment = stream(CAMERA, seed, index + (1 << 40))
    aside = between(own, *domain.aside) * -side
    extent = sitter.face_height / (2.0 * between(own, *domain.face)) * (1.0 + 0.03 * float(moment.standard_normal()))
    camera = Camera.before(sitter.eyes, between(own, *domain.distance), between(own, *domain.below), aside, extent)
    distortion = between(own, *domain.distortion)
    camera = Camera(camera.origin, camera.axes, camera.tangent, (0.0, 0.0), distortion)
    cast = own.standard_normal(3) * domain.colour_cast
    gain = {"day": 0.7, "night": 1.25, "tunnel": 1.15, "backlight": 0.9}[lighting]
    tunnel = (
        np.array([0.88, 0.98, 1.30]) if lighting == "tunnel" else np.ones(3)
    )  # the white balance of a tunnel is half way
    red, green, blue = (np.exp(cast) * tunnel).tolist()
    optics = Optics(
        nir=sensor == "nir", key=KEYS[lighting] * float(np.exp(0.13 * moment.standard_normal())),
        blur=between(own, *domain.blur),
        shot=between(own, *domain.shot) * gain, read=between(own, *domain.read) * gain,
        vignette=between(own, *domain.vignette),
        distortion=distortion, bloom=between(own, *domain.bloom) * (2.0 if lighting == "backlight" else 1.0),
        balance=(red, green, blue),
        contrast=between(own, *domain.contrast) * (1.12 if sensor == "nir" else 1.0),
    )  # fmt: skip
    return camera, optics, between(own, *domain.lamp_gap)


def _expression(condition: Condition, fatigue: float, own: np.random.Generator) -> Expression:
    """Face actions of a moment: a faint smile, raised or drawn brows, and the slack face of the tired."""
    smile, raise_, frown, pucker = own.random(4)
    smile = max(0.0, 1.6 * smile - 1.1) * (1.0 - 0.8 * fatigue)
    raised = max(0.0, 1.5 * raise_ - 0.9) * 0.6
    drawn = max(0.0, 1.5 * frown - 1.0) * 0.8
    actions: dict[str, float] = {"browInnerUp": 0.35 * fatigue + 0.5 * raised, "mouthPucker": max(0.0, pucker - 0.85)}
    for side in ("Left", "Right"):
        actions |= {
            f"mouthSmile{side}": 0.75 * smile, f"cheekSquint{side}": 0.5 * smile,
            f"browOuterUp{side}": raised * (1 - fatigue),
            f"browDown{side}": drawn * (1 - fatigue) + 0.06 * fatigue, f"mouthFrown{side}": 0.40 * fatigue,
            f"noseSneer{side}": 0.25 * drawn,
        }  # fmt: skip
    return Expression(
        eyes=float(condition["eye_openness"]), mouth=float(condition["mouth_openness"]),
        gaze_yaw=float(condition["gaze_yaw"]),
        gaze_pitch=float(condition["gaze_pitch"]), actions=tuple(actions.items()),
    )  # fmt: skip


def _features(sitter: Sitter, moved: Floats) -> Features:
    part = sitter.scalp.part
    surface = Surface(moved[part.source], part.faces, part.uv, sitter.flat_skin(), source=part.source)
    rows = np.unique(part.source, return_index=True)[1]
    rows = rows[surface.vertices[rows, 2] > sitter.scalp.shift[2] + 0.775]
    return Features(
        mouth=0.5 * (moved[UPPER_LIP] + moved[LOWER_LIP]), eyes=sitter.face.centres, chin=moved[CHIN],
        ear_x=float(np.abs(moved[part.source][:, 0]).max()),
        hair=HAIR_AT_EARS if sitter.wig.style in REACH else 0.0, skin=surface.vertices[rows],
        normals=surface.normals()[rows],
    )  # fmt: skip


def _body(
    sitter: Sitter, wardrobe: Wardrobe, interior: Interior, posed: Floats, gesture: Gesture | None
) -> list[Surface]:
    """Torso, raised hand, clothes and belt in world coordinates."""
    anatomy, skin = sitter.layout.anatomy, sitter.flat_skin()
    torso = anatomy.part("torso")
    template = anatomy.template[torso.source]
    shown = ((template[:, 2] > 0.52) & (np.abs(template[:, 0]) < 0.27)) | (np.abs(template[:, 0]) > 0.38)
    torso = torso.keep(np.asarray(shown[torso.faces].all(axis=1)))
    found = [Surface(posed[torso.source], torso.faces, torso.uv, skin, "skin", torso.source, "torso")]
    if gesture is not None:
        hand = anatomy.part("left_hand" if gesture.side == "L" else "right_hand")
        found.append(Surface(posed[hand.source], hand.faces, hand.uv, skin, "hand", hand.source, "hand"))
    clothes = dress(anatomy, wardrobe, posed)
    found += clothes
    found.append(belt(clothes[0], belt_anchor(interior, sitter.eyes), interior.side))
    return found
