"""What a model or a data set gives away about the frames and drivers that it was made from."""
