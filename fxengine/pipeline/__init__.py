"""Runs collect, decode, execute and features at once: the only room whose stages are threads."""
