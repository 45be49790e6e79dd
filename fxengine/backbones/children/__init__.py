"""Frameworks that run in a process of their own: what runs them, and the programs that they run."""
