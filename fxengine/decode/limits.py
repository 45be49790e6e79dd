"""What is refused as too large."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is refused from the header on, before any pixel is allocated.

    Attributes:
        max_pixels: width times height. A picture that takes more than 9 bytes of memory for each (WebP 18, AVIF 13),
            or whose file is larger than a byte for each, counts as more: at the default none takes the process over
            1.5 GB.
        max_bytes: length of the encoded file, or of a text.
    """

    max_pixels: int = 128_000_000
    max_bytes: int = 1_000_000_000

    def wider(self, other: Limits) -> Limits:
        """Return what refuses only what both refuse."""
        return Limits(max(self.max_pixels, other.max_pixels), max(self.max_bytes, other.max_bytes))


def usual_limits(modality: str) -> Limits:
    """Return the limits of a run that says none: a text of more than a million bytes is a book, not a row."""
    return Limits(max_bytes=1_000_000) if modality == "text" else Limits()


# For pictures that a store has taken in: they were within the limits of their run.
TAKEN_IN = Limits(max_pixels=2**62, max_bytes=2**62)
