"""The data card of a dataset: README.md for people and the Hugging Face Hub, croissant.json for machines."""
