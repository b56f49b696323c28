"""The driver camera: where it is, what it sees, and where a point lies in its picture.

camera = Camera.before(eyes, distance=0.62, below=0.13, aside=0.0, extent=0.19)
shares = camera.project(points)            # [N, 2], x and y as shares of the picture from the top left
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A pinhole with a radial lens distortion; world coordinates in metres."""

    origin: Floats
    axes: Floats
    """Columns: right (of the picture), forward, up"""
    tangent: float
    """Half the picture's width at distance 1"""
    shift: tuple[float, float] = (0.0, 0.0)
    """Where the optical axis meets the picture, from its middle, in half widths (right, up)"""
    distortion: float = 0.0
    """Barrel: what lies at radius r appears at r (1 - d r^2) / (1 - 2 d), so that the corners stay"""

    @staticmethod
    def before(eyes: Floats, distance: float, below: float, aside: float, extent: float) -> Camera:
        """A camera that looks at the point between the eyes from in front of and below them."""
        origin = eyes + np.array([aside, -distance, -below])
        forward = eyes - origin
        away = float(np.linalg.norm(forward))
        forward /= away
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        return Camera(origin, np.stack([right, forward, np.cross(right, forward)], axis=1), extent / away)

    def aimed(self, point: Floats, jitter: tuple[float, float]) -> Camera:
        """The same camera with the picture cut out so that `point` lies `jitter` half widths off its middle."""
        x, y = self.plane(point[None])[0]
        return replace(self, shift=(float(jitter[0] - x), float(jitter[1] - y)))

    def plane(self, points: Floats) -> Floats:
        """Undistorted coordinates in half widths from the optical axis (right, up): [N, 2]."""
        seen = (points - self.origin) @ self.axes
        return np.asarray(seen[:, [0, 2]] / np.maximum(seen[:, 1:2], 1e-6) / self.tangent)

    def project(self, points: Floats) -> Floats:
        """Shares of width and height from the top left, [N, 2]; may lie outside of 0 to 1."""
        flat = self.plane(points) + np.array(self.shift)
        r2 = (flat**2).sum(axis=1, keepdims=True)
        flat = flat * (1.0 - self.distortion * r2) / (1.0 - 2.0 * self.distortion)
        return np.stack([(flat[:, 0] + 1.0) / 2.0, (1.0 - flat[:, 1]) / 2.0], axis=1)

    def undistorted(self, x: float, y: float) -> tuple[float, float]:
        """The inverse of `project` in half widths: from a place in the picture to the undistorted plane."""
        scale, r2 = 1.0 - 2.0 * self.distortion, (x * x + y * y) * (1.0 - 2.0 * self.distortion) ** 2
        source = r2
        for _ in range(8):
            source = r2 / (1.0 - self.distortion * source) ** 2
        factor = scale / (1.0 - self.distortion * source)
        return x * factor - self.shift[0], y * factor - self.shift[1]
