"""From rendered or recorded frames to a checkpoint: data sources, training, distillation."""

import importlib.util

if importlib.util.find_spec("torch") is None:
    raise ModuleNotFoundError("training: torch isn't installed; run: pip install '.[train]'", name="torch")
