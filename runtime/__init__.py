"""Bundle in, labelled frames out: numpy and one inference engine, no PyTorch.

    with Generator.open("bundle", backend="cpu", precision="fp32") as generator:
        frames = generator.generate([{"lighting": "night"}], seed=7)      # uint8 [1, H, W, C]

Together with `contract` this is all that goes onto a vehicle.
"""

from runtime.generator import Generator

__all__ = ["Generator"]
