"""Word vectors: files of them, the vocabulary in them, and the rule that finds a text's words."""
