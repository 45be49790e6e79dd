"""Where backbones come from: one file a kind, named in the tables of `fxengine.backbones`."""
