"""Bytes to rows of the graph's inputs: a folder for each modality."""
