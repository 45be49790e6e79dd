"""Whether a store and this machine are sound, and how to mend them."""
