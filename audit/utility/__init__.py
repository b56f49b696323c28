"""Whether synthetic frames help a classifier that is tested on drivers whom nobody trained on."""
