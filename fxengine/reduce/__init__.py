"""A store to fewer numbers: PCA."""
