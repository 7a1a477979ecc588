"""Closed shapes, given by a radius for each direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from tissue.noise import Field, Pixels

CORNERS = 64
TURN = 2 * np.pi
FRACTION_BITS = 4  # of the coordinates that cv2.fillPoly takes


def directions() -> Field:
    """Give the unit vectors (y, x) from a centre to the corners, (CORNERS, 2)."""
    angle = np.arange(CORNERS) * (TURN / CORNERS)
    return np.stack([np.sin(angle), np.cos(angle)], 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Outlines:
    """Star-shaped outlines, in pixels."""

    centres: Field
    """(n, 2) as (y, x)."""
    radii: Field
    """(n, CORNERS), the first to the right, then clockwise."""

    def __getitem__(self, chosen: Any) -> Outlines:
        """Choose some of them, by a mask or indices."""
        return Outlines(self.centres[chosen], self.radii[chosen])

    def __len__(self) -> int:
        """Count them."""
        return len(self.centres)

    def scaled(self, factor: Any, inset_px: float = 0) -> Outlines:
        """Scale about the centres by one factor or by (n, 1) of them, then pull in the rim."""
        radii = np.maximum(self.radii * factor - inset_px, 1).astype(np.float32)
        return Outlines(self.centres, radii)

    def paint(self, plane: Pixels, *, top: int = 0, scale: float = 1) -> None:
        """Fill them with 255, into a plane of which the first row is row `top`."""
        corners = (self.centres[:, None] + self.radii[..., None] * directions() - (top, 0)) * scale
        near = (corners[..., 0].max(1) > -2) & (corners[..., 0].min(1) < plane.shape[0] + 2)
        for shape in np.rint(corners[near][..., ::-1] * 2**FRACTION_BITS).astype(np.int32):
            cv2.fillPoly(plane, [shape], 255, cv2.LINE_AA, FRACTION_BITS)


def packed_cells(
    rng: np.random.Generator, shape: tuple[int, int], spacing_px: float, *, stretch: float = 1, corners: float
) -> Outlines:
    """Fill a picture with cells, as glands and fat are packed: the Voronoi cells of a shaken honeycomb.

    The radius in a direction is half the way to the neighbour that bounds the cell there. A power mean over
    all neighbours, in place of the minimum, rounds the corners: the smaller `corners`, the rounder.
    """
    centres = shaken_honeycomb(rng, shape, spacing_px, stretch)
    nearness = np.zeros((*centres.shape[:2], CORNERS))
    for shift in [(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)]:
        step = np.roll(centres, shift, (0, 1)) - centres
        towards = np.maximum(step @ directions().T, 0)
        nearness += (2 * towards / np.sum(step**2, -1, keepdims=True)) ** corners
    inside = np.all((centres > -spacing_px) & (centres < np.add(shape, spacing_px)), -1)
    nearest = np.maximum(nearness[inside] ** (1 / corners), 0.5 / spacing_px)
    return Outlines(centres[inside].astype(np.float32), (1 / nearest).astype(np.float32))


def shaken_honeycomb(
    rng: np.random.Generator, shape: tuple[int, int], spacing_px: float, stretch: float
) -> Any:
    """Spread centres (rows, columns, 2) as (y, x) over a picture and beyond, in rows at an angle."""
    reach = int(np.hypot(*shape) * max(stretch, 1 / stretch) / spacing_px / 1.7) + 3
    row, column = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    honeycomb = np.stack([0.87 * row, column + 0.5 * (row % 2)], -1)
    shaken = (honeycomb + rng.uniform(-0.27, 0.27, honeycomb.shape)) * spacing_px * (1 / stretch, stretch)
    angle = rng.uniform(0.9, 1.2)
    rotation = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return shaken @ rotation + np.divide(shape, 2)
