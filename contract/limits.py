"""The largest values that a file may declare: more is damage or an attack, and is refused before it is allocated."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MAX_SIDE = 4096
"""Height and width of a bundle's frames, in pixels."""

MAX_NETWORK_SIDE = 1024
"""Height and width that the project's own networks are built for."""

MAX_CHANNELS = 16
MAX_WIDTH = 4096
"""Numbers in a condition vector."""

LARGEST = 1e6
"""Of every number in a condition schema: more would overflow where it is encoded as float32."""

MAX_TIMESTEPS = 100_000
"""T of a noise schedule; published ones have 1000 to 4000."""

MAX_STEPS = 10_000
"""K of a sampler; 10 000 steps with their alpha_bar are under 1 MB of manifest."""

MAX_GUIDANCE = 100.0
"""More than anybody samples with: a larger scale is a mistake."""

MAX_SHIFT = 100.0
"""Of a sampler's timesteps towards noise; 1 to 7 are in use."""

MAX_MANIFEST_BYTES = 16 << 20

MAX_CHECKPOINT_BYTES = 8 << 30
"""The networks here are a few megabytes, the source document's 50."""

MAX_VALUES = 20_000
MAX_DEPTH = 64
MAX_TEXT = 8 << 20
"""Values, levels of nesting and characters in the plain part of a checkpoint (schema, lineage ...): half a million
drivers, and 18 students each of which goes on from the one before (three levels each)."""

Channels = Annotated[int, Meta(ge=1, le=MAX_CHANNELS)]
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
ConditionWidth = Annotated[int, Meta(ge=1, le=MAX_WIDTH)]
Number = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Share = Annotated[float, Meta(ge=0.0, le=LARGEST)]
Timesteps = Annotated[int, Meta(ge=1, le=MAX_TIMESTEPS)]
Timestep = Annotated[int, Meta(ge=0, lt=MAX_TIMESTEPS)]
AlphaBar = Annotated[float, Meta(ge=0.0, le=1.0)]
Guidance = Annotated[float, Meta(ge=0.0, le=MAX_GUIDANCE)]
Shift = Annotated[float, Meta(ge=1.0, le=MAX_SHIFT)]
