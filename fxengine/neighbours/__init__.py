"""Neighbours: vectors in, the nearest of them out.

metric (what near means) -> exact (the judge) -> choose (what to try) -> build -> tune (how right, how fast) -> file
"""
