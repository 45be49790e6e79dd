"""A page over a store, for one person on this machine: what is asked of it, and what answers."""
