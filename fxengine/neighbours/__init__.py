"""Index: vectors in, nearest neighbours out.

metric (what near means) -> exact (the judge) -> choose (what to try) -> build -> tune (how right, how fast) -> file
"""
