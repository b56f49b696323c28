"""From rendered or recorded frames to a checkpoint: data sources, training, distillation."""
