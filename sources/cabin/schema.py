"""The schema of rendered frames: that of `contract.schemas.CABIN` with the camera's sensor before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from contract.conditions import Schema
from contract.field import Condition, Field
from contract.schemas import CABIN

SENSORS = ("rgb", "nir")
NIR_SHARE = 0.4
"""How many of the frames that aren't taken at night come from a near-infrared camera."""


def with_sensor(schema: Schema) -> Schema:
    """`schema` with `sensor` as its first field; unchanged where it has one."""
    if "sensor" in schema.names:
        return schema
    lights = schema.field("lighting").values
    shares = tuple((0.0, 1.0) if light == "night" else (1.0 - NIR_SHARE, NIR_SHARE) for light in lights)
    sensor = Field("sensor", 0, SENSORS, ((1.0, 0.0), (0.0, 1.0)), given="lighting", given_weights=shares)
    moved = tuple(replace(field, offset=field.offset + sensor.width) for field in schema.fields)
    return Schema(schema.name, schema.width + sensor.width, (sensor, *moved))


SCHEMA = with_sensor(CABIN)


def complete(given: Mapping[str, object], generator: np.random.Generator) -> Condition:
    """Open fields from the prior; a night frame is near infrared whatever was asked."""
    condition = SCHEMA.complete(given, generator)
    if condition["lighting"] == "night":
        condition["sensor"] = "nir"
    return condition
