"""TensorRT engines: specification, builder process, inspection."""
