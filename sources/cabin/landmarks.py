"""The 2-D landmarks of rendered drivers, apart from the renderer, which not everybody who reads frames has."""

from __future__ import annotations

from sources.base import Landmarks

LANDMARKS = (
    "eye_left_outer", "eye_left_inner", "eye_right_inner", "eye_right_outer", "nose_tip", "mouth_left", "mouth_right",
    "mouth_top", "mouth_bottom", "eye_left_upper", "eye_left_lower", "eye_right_upper", "eye_right_lower", "pupil_left",
    "pupil_right", "brow_left_outer", "brow_left_inner", "brow_right_inner", "brow_right_outer", "nose_bridge", "chin",
)  # fmt: skip
"""Names of the 2-D landmarks; left and right as they lie in the picture of a driver who faces it."""

MIRROR = tuple((name, name.replace("left", "right")) for name in LANDMARKS if "left" in name)
"""Pairs of landmarks that change places when the picture is flipped."""

KIND = Landmarks(LANDMARKS, MIRROR, tuple(name for name in LANDMARKS if name.startswith(("eye", "pupil"))))
"""What a folder of rendered frames says of its points."""
