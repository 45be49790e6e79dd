"""Heads fitted in passes over a store that need not fit into memory."""
