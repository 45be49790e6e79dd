"""Full fine-tuning, when cached features are not enough: Keras in a process of its own.

The files in children/ are that process; it needs no fxengine and talks by files, which layout.py names.
"""
