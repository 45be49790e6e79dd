"""What two rows of a store are to each other, in the words that tables, pages and the command line use."""

from __future__ import annotations

IDENTICAL = "identical"  # equal to the byte
SAME_PICTURE = "same picture"  # proven by the pixels
SAME_SCENE = "same scene"  # alike, and compared: another picture
SAME_TEXT = "same text"  # but for spaces, case and marks
NEAR_THE_SAME = "near the same"  # most runs of characters are in both
ALIKE = "alike"  # texts that are near each other, no more
UNVERIFIED = "unverified"  # alike, and could not be compared

KINDS = (IDENTICAL, SAME_PICTURE, SAME_TEXT, NEAR_THE_SAME, SAME_SCENE, ALIKE, UNVERIFIED)
REDUNDANT = frozenset({IDENTICAL, SAME_PICTURE, SAME_TEXT})  # what is more than needed
