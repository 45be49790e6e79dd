"""Texts become token ids: the backbone's own tokenizer, which neither cuts silently nor pads."""
