"""What an annotator reads back from frames, and whether that is what was asked for.

    annotation = annotator.annotate(frames)                       # frames uint8 [N, H, W, C]
    entry = measured(schema, annotation, row, condition)          # {"lighting": "night", "gaze_yaw": None, ...}
    agrees(schema, entry, condition)                              # every visible class, every visible number

What a frame hides is null in `measured` and never a disagreement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.conditions import Schema
from contract.field import Field, Value

Array = npt.NDArray[np.float32]

TOLERANCE = 0.2
"""Share of a number's range by which the measured value may differ from the one asked for: 0.2 of openness,
14 degrees of gaze yaw. At least three times the mean error of the annotator, which hardly disagrees by noise alone."""

DIGITS = 3
"""Decimals of a measured number in a record."""


class Annotation(NamedTuple):
    """Labels read from N frames, every array float32."""

    probabilities: Array
    """[N, P]: calibrated probability of every class, the class fields of the schema one after the other."""

    numbers: Array
    """[N, M]: the schema's numbers in order, in their units, inside their ranges."""

    errors: Array
    """[N, M]: the absolute error that each number is expected to have, in its unit."""

    landmarks: Array
    """[N, L, 2]: x, y as shares of width and height, from the top left."""

    features: Array
    """[N, F]: what the labels are read from; distances between sets of frames are measured there."""

    def rows(self, chosen: Any) -> Annotation:
        """The same for some of the frames."""
        return Annotation(*(array[chosen] for array in self))

    @staticmethod
    def join(parts: list[Annotation]) -> Annotation:
        """Several annotations as one, in order."""
        return Annotation(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def class_fields(schema: Schema) -> dict[str, slice]:
    """Columns of `probabilities` for each class field, in the schema's order."""
    slices, first = {}, 0
    for field in schema.fields:
        if field.is_class:
            slices[field.name] = slice(first, first + len(field.values))
            first += len(field.values)
    return slices


def annotation_sides(schema: Schema, landmarks: int, features: int) -> dict[str, list[int]]:
    """Shape of each array of an annotation, in order and without the batch axis."""
    numbers = len(number_fields(schema))
    return {
        "probabilities": [sum(len(schema.field(name).values) for name in class_fields(schema))],
        "numbers": [numbers],
        "errors": [numbers],
        "landmarks": [landmarks, 2],
        "features": [features],
    }


def number_fields(schema: Schema) -> dict[str, int]:
    """Column of `numbers` and `errors` for each number, in the schema's order."""
    return {field.name: i for i, field in enumerate(field for field in schema.fields if not field.is_class)}


def measured(
    schema: Schema, annotation: Annotation, row: int, condition: Mapping[str, Value]
) -> dict[str, Value | None]:
    """What frame `row` shows, by field; None for what it hides by its measured look or by what was asked for."""
    found: dict[str, Value] = {}
    for name, columns in class_fields(schema).items():
        found[name] = schema.field(name).values[int(annotation.probabilities[row, columns].argmax())]
    for name, column in number_fields(schema).items():
        field = schema.field(name)
        number = round(float(annotation.numbers[row, column]), DIGITS)
        found[name] = min(max(number, field.low), field.high)  # what float32 and rounding carry over the edge
    hidden = {*schema.hidden(found), *schema.hidden(condition)}
    return {name: None if name in hidden else found[name] for name in schema.names}


def agrees(schema: Schema, entry: Mapping[str, Any], condition: Mapping[str, Value]) -> bool:
    """Whether every visible class is the one asked for and every visible number within TOLERANCE of it."""
    return all(_agrees(field, entry[field.name], condition[field.name]) for field in schema.fields)


def _agrees(field: Field, found: Value | None, asked: Value) -> bool:
    if found is None:
        return True
    if field.is_class:
        return found == asked
    return abs(float(found) - float(asked)) <= TOLERANCE * (field.high - field.low)


def likelihood(schema: Schema, annotation: Annotation, row: int, condition: Mapping[str, Value]) -> float:
    """The lowest probability, over the visible class fields, that the frame shows the class asked for: 0 to 1.

    Above 0.5, every one of them is the class that the annotator measures.
    """
    hidden = schema.hidden(condition)
    asked = [
        float(annotation.probabilities[row, columns][schema.field(name).values.index(str(condition[name]))])
        for name, columns in class_fields(schema).items()
        if name not in hidden
    ]
    return min(asked, default=1.0)
