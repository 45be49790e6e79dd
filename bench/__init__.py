"""Benchmarks: each a command that runs both sides on the same inputs, checks that they agree, and prints one table."""
