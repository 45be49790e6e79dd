"""Index: vectors in, nearest neighbours out."""
