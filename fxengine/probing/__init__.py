"""A labelled store to a head: probe it, compare backbones, find wrong labels, predict, bundle."""
