"""How a driver's eyes, mouth, gaze and head move over a clip: conditions over time, from a physiological model.

    shape = ClipShape(frames=1800, fps=30)
    clip = move(schema, condition, shape, stream(seed, first_index, TRAJECTORY), held={"gaze_yaw"})
    clip.conditions                               # 1800 complete conditions
    clip.figures(schema, shape)                   # PERCLOS, blinks a minute

Fields are found by role; a schema without a role loses that movement. What the literature gives is cited at its
constant, from the paper's abstract or from works that quote it. "As remembered" marks a number that was checked against
neither, "assumed" one that is this model's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.conditions import Schema
from contract.dataset import ClipShape
from contract.field import Condition, Field

Times = npt.NDArray[np.float64]

TRAJECTORY = 2
"""Topic of the stream that a clip's movements are drawn from."""

MOVED = ("eye_openness", "mouth_openness", "gaze_yaw", "gaze_pitch", "head_pitch")
"""Roles of the fields that change over a clip, where they are numbers."""

BLINKS_PER_MINUTE = (17.0, 25.0)
"""Alert: the mean at rest of 150 people in Bentivoglio et al. 1997, "Analysis of blink rate patterns in normal
subjects". It rises with the time on a task (Stern, Boyer and Schroeder 1994, "Blink rate: a possible measure of
fatigue"); by how much is assumed."""

BLINK_SECONDS = (0.202, 0.259)
"""Alert and drowsy means. Blinks last longer with drowsiness: Caffier, Erdmann and Ullsperger 2003, "Experimental
evaluation of eye-blink parameters as a drowsiness measure"; their two numbers are given as remembered."""

BLINK_SPREAD = 0.2
"""Standard deviation of the logarithm of a blink's length; assumed."""

CLOSING, SHUT = 0.35, 0.15
"""Shares of a blink. The lid closes 40 to 47 % faster than it opens: "Spontaneous blinking in healthy persons: an
optoelectronic study of eyelid motion", Ophthalmic and Physiological Optics 28, 2008. How long it stays shut is
assumed."""

MICROSLEEP_SECONDS = (0.5, 3.0)
"""The longest blinks last half a second: 0.1 s to close, at most 0.3 s shut, 0.1 s to open (Stern, Walrath and
Goldstein 1984, "The endogenous eyeblink", as quoted by others). What is longer is no blink. The longest microsleep is
assumed."""

MICROSLEEPS_PER_MINUTE = 6.0
"""Of the most tired driver, and in proportion below; assumed."""

LID_SECONDS = 0.15
"""How long the lid takes to fall, and again to rise, around a microsleep; assumed."""

REST_OPENNESS = ((0.85, 1.0), (0.45, 0.65))
"""Band of the opening between blinks, alert and most tired, where the plan doesn't set it; assumed."""

YAWN_SECONDS, YAWN_SPREAD = 6.5, 0.2
"""Mean of people in Gallup, Church and Pelegrino 2016, "Yawn duration predicts brain weight and cortical neuron number
in mammals", as quoted by others. The spread is assumed."""

YAWNS_PER_MINUTE = 2.0
"""Of the most tired driver, and in proportion below; assumed."""

YAWN_OPENNESS, REST_MOUTH = (0.8, 1.0), (0.0, 0.1)
"""Bands of the mouth's opening at the height of a yawn, and otherwise where the plan doesn't set it; assumed."""

FIXATION_SECONDS, FIXATION_SPREAD = 0.33, 0.4
SACCADE_DEGREES = 4.0
"""Means in scene perception, as remembered from Rayner 1998, "Eye movements in reading and information processing: 20
years of research". In looking at a scene the eyes move every 0.2 to 0.35 s (Rayner and Castelhano 2007, "Eye
movements"). The spread of the logarithm of a fixation's length is assumed."""

SACCADE_SECONDS, SACCADE_SECONDS_PER_DEGREE = 0.021, 0.0022
"""A saccade of A degrees lasts 21 ms + 2.2 ms A: as remembered from Carpenter 1988, "Movements of the eyes". That its
length goes with its size is the main sequence: Bahill, Clark and Stark 1975."""

NOD_DEGREES, NOD_RECOVERY = (8.0, 18.0), 0.25
"""How far the head sinks in a microsleep, and in which share of it the head comes up again; assumed. Sleepy people move
their heads more, and further: van den Berg 2006, "Sleepiness and head movements"."""

PERCLOS_OPENNESS = 0.2
"""P80: the eye counts as closed where the lid covers at least 80 % of it (Wierwille et al. 1994, as quoted by others).
It is meant for slow closures rather than blinks (Dinges and Grace 1998, "PERCLOS: a valid psychophysiological measure
of alertness as assessed by psychomotor vigilance"), hence both figures."""

PERCLOS_SECONDS = 60.0
"""PERCLOS is a share of the time of a minute (Wierwille et al. 1994); of a longer clip, it is that of all its time."""


class Event(NamedTuple):
    """Something that begins and ends, in seconds since the clip began."""

    start: float
    seconds: float
    size: float = 1.0
    """How far it goes, in the unit of what moves."""


@dataclass(frozen=True)
class Clip:
    """A clip's conditions and what happens in it."""

    conditions: list[Condition]
    """Complete, one a frame."""

    blinks: tuple[Event, ...] = ()
    microsleeps: tuple[Event, ...] = ()
    yawns: tuple[Event, ...] = ()

    def figures(self, schema: Schema, shape: ClipShape) -> dict[str, Any]:
        """`perclos` (0 to 1, or null with `perclos_reason`), the same without the time of blinks, `blinks_per_minute`,
        and counts of what happens."""
        eye = _number(schema, "eye_openness")
        perclos, slow, reason = None, None, None
        if eye is None:
            reason = "the schema has no field of the role eye_openness"
        elif shape.seconds < PERCLOS_SECONDS:
            reason = f"the clip lasts {shape.seconds:g} s; PERCLOS is defined over {PERCLOS_SECONDS:g} s"
        else:
            openness = np.array([_share(eye, float(condition[eye.name])) for condition in self.conditions])
            perclos = perclos_of(openness)
            times = np.arange(shape.frames) / shape.fps
            slow = perclos_of(np.where(_closed(times, list(self.blinks), []) > 0, 1.0, openness))
        return {
            "perclos": perclos,
            "perclos_without_blinks": slow,
            "perclos_reason": reason,
            "blinks_per_minute": None if eye is None else len(self.blinks) * 60.0 / shape.seconds,
            "blinks": len(self.blinks),
            "microsleeps": len(self.microsleeps),
            "yawns": len(self.yawns),
        }


def perclos_of(openness: Times) -> float:
    """P80: the share of frames, evenly spaced in time, whose eye opening (0 to 1) is at most PERCLOS_OPENNESS."""
    return float(np.mean(openness <= PERCLOS_OPENNESS))


def moving(schema: Schema) -> list[str]:
    """Names of the fields that change over a clip; none where a schema has no number of the MOVED roles."""
    return [field.name for role in MOVED if (field := _number(schema, role))]


def move(
    schema: Schema,
    condition: Condition,
    shape: ClipShape,
    generator: np.random.Generator,
    held: Collection[str] = (),
) -> Clip:
    """A clip of one driver from a complete condition.

    Gaze and head move around the condition's values. So do eyes and mouth where they are in `held`, the names that
    the plan sets; otherwise their rest follows from the fatigue. Values stay in their fields' ranges.
    """
    times = np.arange(shape.frames) / shape.fps
    tired = severity(schema, condition)
    blinks, microsleeps = _closures(tired, shape.seconds, generator)
    yawns = _yawns(tired, shape.seconds, generator)
    low, high = (_mix(alert, worst, tired) for alert, worst in zip(*REST_OPENNESS, strict=True))
    rest_eye = _between(low, high, generator)
    rest_mouth = _between(*REST_MOUTH, generator)
    gaze = _gaze(times, shape.seconds, generator)
    closed = _closed(times, blinks, microsleeps)
    moved: dict[str, npt.NDArray[np.float64]] = {}
    if eye := _number(schema, "eye_openness"):
        rest = _share(eye, float(condition[eye.name])) if eye.name in held else rest_eye
        moved[eye.name] = _scaled(eye, rest * (1.0 - closed))
    if mouth := _number(schema, "mouth_openness"):
        rest = _share(mouth, float(condition[mouth.name])) if mouth.name in held else rest_mouth
        moved[mouth.name] = _scaled(mouth, np.maximum(rest, _yawning(times, yawns)))
    for role, offset in zip(("gaze_yaw", "gaze_pitch"), gaze, strict=True):
        if field := _number(schema, role):
            moved[field.name] = np.clip(float(condition[field.name]) + offset, field.low, field.high)
    if head := _number(schema, "head_pitch"):
        moved[head.name] = np.clip(float(condition[head.name]) - _nodding(times, microsleeps), head.low, head.high)
    columns = {name: values.tolist() for name, values in moved.items()}
    frames = [{**condition, **{name: column[i] for name, column in columns.items()}} for i in range(shape.frames)]
    return Clip(frames, tuple(_begun(blinks, shape)), tuple(_begun(microsleeps, shape)), tuple(_begun(yawns, shape)))


def severity(schema: Schema, condition: Condition) -> float:
    """How tired the driver is, from 0 (the first class of the field of the role `fatigue`, or no such field) to 1."""
    field = schema.with_role("fatigue")
    if field is None:
        return 0.0
    if field.is_class:
        return field.values.index(str(condition[field.name])) / max(len(field.values) - 1, 1)
    return _share(field, float(condition[field.name]))


def _closures(tired: float, seconds: float, generator: np.random.Generator) -> tuple[list[Event], list[Event]]:
    """Blinks and microsleeps, which never overlap: one series of which each event is one or the other."""
    blink_rate, sleep_rate = _mix(*BLINKS_PER_MINUTE, tired), MICROSLEEPS_PER_MINUTE * tired
    blink_seconds = _mix(*BLINK_SECONDS, tired)
    mean = (blink_rate * blink_seconds + sleep_rate * sum(MICROSLEEP_SECONDS) / 2) / (blink_rate + sleep_rate)
    gap = 60.0 / (blink_rate + sleep_rate) - mean
    blinks: list[Event] = []
    microsleeps: list[Event] = []
    start = generator.exponential(gap)
    while start < seconds:
        if generator.random() < sleep_rate / (blink_rate + sleep_rate):
            event = Event(start, _between(*MICROSLEEP_SECONDS, generator), _between(*NOD_DEGREES, generator))
            microsleeps.append(event)
        else:
            longest = MICROSLEEP_SECONDS[0]
            event = Event(start, min(_lognormal(blink_seconds, BLINK_SPREAD, generator), longest))
            blinks.append(event)
        start += event.seconds + generator.exponential(gap)
    return blinks, microsleeps


def _yawns(tired: float, seconds: float, generator: np.random.Generator) -> list[Event]:
    yawns: list[Event] = []
    if tired == 0.0:
        return yawns
    gap = 60.0 / (YAWNS_PER_MINUTE * tired) - YAWN_SECONDS
    start = generator.exponential(gap)
    while start < seconds:
        size = _between(*YAWN_OPENNESS, generator)
        yawns.append(Event(start, _lognormal(YAWN_SECONDS, YAWN_SPREAD, generator), size))
        start += yawns[-1].seconds + generator.exponential(gap)
    return yawns


def _gaze(times: Times, seconds: float, generator: np.random.Generator) -> tuple[Times, Times]:
    """Yaw and pitch in degrees around the rest: fixations, between them saccades straight to the next target."""
    knots, yaws, pitches = [0.0], [0.0], [0.0]
    while knots[-1] < seconds:
        # Two targets at independent normal offsets lie Rayleigh-distributed apart: the mean is sigma sqrt(pi).
        target = generator.normal(0.0, SACCADE_DEGREES / np.sqrt(np.pi), 2).tolist()
        distance = float(np.hypot(target[0] - yaws[-1], target[1] - pitches[-1]))
        leave = knots[-1] + _lognormal(FIXATION_SECONDS, FIXATION_SPREAD, generator)
        knots += [leave, leave + SACCADE_SECONDS + SACCADE_SECONDS_PER_DEGREE * distance]
        yaws += [yaws[-1], target[0]]
        pitches += [pitches[-1], target[1]]
    return np.interp(times, knots, yaws), np.interp(times, knots, pitches)


def _closed(times: Times, blinks: list[Event], microsleeps: list[Event]) -> Times:
    """How far the lids are down, 0 to 1."""
    closed = np.zeros_like(times)
    for start, seconds, _ in blinks:
        shut = start + CLOSING * seconds
        _raise(closed, times, (start, shut, shut + SHUT * seconds, start + seconds), 1.0)
    for start, seconds, _ in microsleeps:
        _raise(closed, times, (start, start + LID_SECONDS, start + seconds - LID_SECONDS, start + seconds), 1.0)
    return closed


def _yawning(times: Times, yawns: list[Event]) -> Times:
    """The mouth's opening, 0 to 1: it opens over half a yawn and closes over the last third."""
    opening = np.zeros_like(times)
    for start, seconds, size in yawns:
        _raise(opening, times, (start, start + seconds / 2, start + seconds * 2 / 3, start + seconds), size)
    return opening


def _nodding(times: Times, microsleeps: list[Event]) -> Times:
    """How far the head has sunk, in degrees: slowly down, quickly up again."""
    sunk = np.zeros_like(times)
    for start, seconds, size in microsleeps:
        up = start + (1.0 - NOD_RECOVERY) * seconds
        _raise(sunk, times, (start, up, up, start + seconds), size)
    return sunk


def _raise(values: Times, times: Times, corners: tuple[float, float, float, float], size: float) -> None:
    """Lay an event over the values as a trapezoid: from 0 to `size`, where it stays, and back."""
    first, last = np.searchsorted(times, (corners[0], corners[3]))
    values[first:last] = np.interp(times[first:last], corners, (0.0, size, size, 0.0))


def _begun(events: list[Event], shape: ClipShape) -> Iterator[Event]:
    return (event for event in events if event.start < shape.seconds)


def _number(schema: Schema, role: str) -> Field | None:
    field = schema.with_role(role)
    return None if field is None or field.is_class else field


def _share(field: Field, value: float) -> float:
    return (value - field.low) / (field.high - field.low)


def _scaled(field: Field, share: Times) -> Times:
    return np.clip(field.low + share * (field.high - field.low), field.low, field.high)


def _mix(alert: float, worst: float, tired: float) -> float:
    return alert + tired * (worst - alert)


def _between(low: float, high: float, generator: np.random.Generator) -> float:
    return low + float(generator.random()) * (high - low)


def _lognormal(mean: float, spread: float, generator: np.random.Generator) -> float:
    """A length of that mean, whose logarithm has that standard deviation."""
    return float(generator.lognormal(np.log(mean) - spread**2 / 2, spread))
