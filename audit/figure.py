"""Matplotlib's figure, which the charts of several audits are drawn on.

figure = new_figure("fidelity.png", inches=(11.0, 4.6), dpi=100)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.errors import Unavailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(name: str, inches: tuple[float, float], dpi: int) -> Figure:
    """An empty figure for the file `name`; Unavailable without matplotlib or a place for its cache."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Unavailable(f"{name} isn't drawn without matplotlib; run: pip install '.[audit]'") from None
    except OSError as error:  # a read-only machine
        raise Unavailable(f"{name} isn't drawn, since matplotlib doesn't start ({error})") from None
    return Figure(inches, dpi, layout="constrained")
