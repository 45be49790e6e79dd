"""Full fine-tuning, when cached features are not enough: Keras in a process of its own.

train_child.py, nets_child.py and augment_child.py are that process; it needs no fxengine and talks by files, which
layout.py names.
"""
