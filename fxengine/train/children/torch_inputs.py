"""Rows as nets of PyTorch take them, for the training process only: read, changed and prepared by PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Job = dict[str, Any]
Inputs = tuple[torch.Tensor, ...]


def of_pictures(data: Any, changes: Any) -> Callable[[np.ndarray, Job | None, int], Inputs]:
    """Return what makes inputs of some rows of pictures, float32 [rows, 3, height, width], changed as settings say.

    `changes` is the module changes.py.
    """

    def inputs(rows: np.ndarray, settings: Job | None, epoch: int) -> Inputs:
        pictures = torch.from_numpy(np.array(data.images[rows])).permute(0, 3, 1, 2).float()
        if settings is not None and settings["augmentations"]:
            numbers = changes.drawn(len(data.split), settings["seed"], epoch)[rows]
            wanted = changes.changes(settings["augmentations"], numbers, data.images.shape[1:3])
            pictures = changed(pictures, wanted, changes.LEVELS, changes.LUMA)
        return (prepared(pictures, data.pixels),)

    return inputs


def of_texts(data: Any) -> Callable[[np.ndarray, Job | None, int], Inputs]:
    """Return what makes inputs of some rows of texts: token ids and their mask, int64 [rows, longest]."""

    def inputs(rows: np.ndarray, settings: Job | None, epoch: int) -> Inputs:
        padded = torch.from_numpy(data.padded(rows)).long()
        return (padded - 1).clamp(min=0), (padded > 0).long()

    return inputs


def prepared(pictures: torch.Tensor, pixels: Job) -> torch.Tensor:
    """Return pictures as the net takes them, from 0 to 255 in RGB, [n, 3, height, width]."""
    pictures = pictures.flip(1) if pixels["bgr"] else pictures
    mean, std = (torch.tensor(pixels[name], dtype=torch.float32)[:, None, None] for name in ("mean", "std"))
    return (pictures - mean) / std


def changed(
    pictures: torch.Tensor, wanted: Any, levels: tuple[float, float], luma: tuple[float, float, float]
) -> torch.Tensor:
    """Return pictures, float32 [n, 3, height, width] in 0 to 255, changed.

    Args:
        pictures: n of them.
        wanted: their `Changes`.
        levels: the least and the greatest level.
        luma: how much each colour counts for grey.
    """

    def each(numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(numbers)[:, None, None, None]

    if wanted.maps is not None:
        pictures = moved(pictures, torch.from_numpy(wanted.maps))
    if wanted.contrast is not None:
        mean = pictures.mean((2, 3), keepdim=True)
        pictures = (pictures - mean) * each(wanted.contrast) + mean
    if wanted.brightness is not None:
        pictures = pictures + each(wanted.brightness)
    if wanted.grey is not None:
        grey = (pictures * torch.tensor(luma)[:, None, None]).sum(1, keepdim=True).expand_as(pictures)
        pictures = torch.where(each(wanted.grey), grey, pictures)
    return pictures.clamp(*levels)


def moved(pictures: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Return pictures resampled: the pixel at (x, y) comes from (ax + by + c, dx + ey + f), mirrored at the edges."""
    height, width = pictures.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([x.flatten(), y.flatten(), torch.ones(height * width)]).float()
    found = (maps.reshape(-1, 2, 3) @ places).reshape(-1, 2, height, width)
    # Edges lie at -1 and 1, half a pixel outside the first and the last one.
    grid = torch.stack([(2 * found[:, 0] + 1) / width - 1, (2 * found[:, 1] + 1) / height - 1], dim=-1)
    return torch.nn.functional.grid_sample(
        pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
