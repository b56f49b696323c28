"""The rendered driver: a parametric human, path-traced in a car, with exact labels.

from sources.cabin.driver import Cabin
batch = Cabin(size=128).render(seed=0, indices=range(8))
"""
