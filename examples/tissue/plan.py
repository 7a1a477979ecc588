"""What grows where: the pieces of tissue, how their fibres run, their glands, fat and vessels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from tissue.noise import smooth_noise
from tissue.outlines import Outlines, packed_cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tissue.noise import Field, Pixels

PLAN = 8  # pixels of the picture to one of the plan


@dataclass(frozen=True, slots=True)
class Island:
    """One piece of tissue: a bent ellipse."""

    centre: tuple[float, float]
    """(y, x), as parts of the height and the width of the picture."""
    half_axes: tuple[float, float]
    """The long and the short one, as parts of the picture's `extent`."""
    angle: float
    """Of the long axis, in radians."""
    bend: float = 0


ISLANDS = (
    Island((0.47, 0.295), (0.455, 0.245), -1.02, 0.25),
    Island((0.52, 0.745), (0.43, 0.22), -2.05, -0.30),
    Island((0.90, 0.53), (0.075, 0.05), 0.3),
    Island((0.10, 0.56), (0.05, 0.032), 0.9),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The lie of the land at 1/8 of the size; every field is (h, w) float32."""

    depth: Field
    """How far inside the tissue, in pixels of the picture; negative outside it."""
    layer: Field
    """From -1 (fat) through 0 (fibres) to 1 (glands), from one side of a piece to the other."""
    along: Field
    """Position along the fibres, in pixels of the picture."""
    across: Field
    """Position across the fibres, likewise: a fibre is a line of equal value."""
    loose: Field
    """How much space there is between the fibres, about 0 to 1."""

    def at(self, field: NDArray[Any], places: Field) -> Any:
        """Look up a field at places (n, 2) of the picture."""
        y, x = np.clip(places // PLAN, 0, np.subtract(field.shape, 1)).astype(int).T
        return field[y, x]


def grow_plan(rng: np.random.Generator, shape: tuple[int, int]) -> Plan:
    """Lay out a picture of `shape`."""
    size = -(-shape[0] // PLAN), -(-shape[1] // PLAN)
    inside, along, across = islands(rng, size)
    mask = (inside + 0.075 * smooth_noise(rng, size, 64, 4) > 0).astype(np.uint8)
    layer = across + 0.20 * smooth_noise(rng, size, 90, 3)
    waves = 75 * smooth_noise(rng, size, 50) + 14 * smooth_noise(rng, size, 9)
    fibres = (across * (0.24 * extent(shape)) + waves).astype(np.float32)
    loose = 0.40 + 0.16 * smooth_noise(rng, size, 40, 2)
    return Plan(distance(mask) - distance(1 - mask), layer, along, fibres, loose)


def extent(shape: tuple[int, int]) -> float:
    """Measure a picture by the height it has, or would have if it were 4 wide and 3 high."""
    return min(shape[0], 0.75 * shape[1])


def islands(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Field, Field, Field]:
    """Place the islands on a plan: how far inside (0 to 1), pixels along, part across (-1 to 1)."""
    side = extent(size)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    y, x = ((axis + 6 * smooth_noise(rng, size, 24, 2)) / side for axis in (y, x))
    best = [np.full(size, -np.inf, np.float32)] * 3
    for island in ISLANDS:
        down, right = y - island.centre[0] * size[0] / side, x - island.centre[1] * size[1] / side
        sine, cosine = math.sin(island.angle), math.cos(island.angle)
        along = (right * cosine + down * sine) / island.half_axes[0]
        across = (down * cosine - right * sine) / island.half_axes[1] + island.bend * along**2
        found = 1 - np.hypot(along, across), along * (island.half_axes[0] * side * PLAN), across
        closer = found[0] > best[0]
        best = [np.where(closer, new, old) for new, old in zip(found, best, strict=True)]
    return best[0], best[1], best[2]


def distance(mask: Pixels) -> Field:
    """How far each pixel of a plan's mask is from a 0, in pixels of the picture."""
    found: Field = cv2.distanceTransform(mask, cv2.DIST_L2, 5) * PLAN
    return found


@dataclass(frozen=True, slots=True)
class Shapes:
    """What has an outline."""

    glands: Outlines
    lumens: Outlines
    """The space within each gland."""
    vessels: Outlines
    fat: Outlines
    follicles: Outlines
    """Where lymphocytes crowd."""


def grow_shapes(rng: np.random.Generator, shape: tuple[int, int], plan: Plan) -> Shapes:
    """Put glands, vessels, fat and follicles where the plan has room for them."""
    glands = within(plan, packed_cells(rng, shape, 205, stretch=1.15, corners=5), (0.12, 9), 95)
    glands = glands.scaled(rng.uniform(0.80, 1.02, (len(glands), 1)), 4)
    opening = rng.choice([0.16, 0.24, 0.34, 0.5], (len(glands), 1), p=[0.2, 0.35, 0.3, 0.15])
    lumens = glands.scaled(opening * (1 + 0.10 * rng.standard_normal(glands.radii.shape)))
    vessels = within(plan, packed_cells(rng, shape, 620, corners=4), (-0.4, 0.02), 200)
    vessels = vessels.scaled(rng.uniform(0.10, 0.26, (len(vessels), 1)))
    fat = within(plan, packed_cells(rng, shape, 130, stretch=1.05, corners=9), (-9, -0.52), 55)
    follicles = within(plan, packed_cells(rng, shape, 800, corners=4), (-0.08, 0.24), 260)
    return Shapes(glands, lumens, vessels, fat.scaled(0.985, 1), follicles.scaled(0.62))


def within(plan: Plan, cells: Outlines, layers: tuple[float, float], depth_px: float) -> Outlines:
    """Keep the cells that lie in some layers and deep enough in the tissue."""
    layer = plan.at(plan.layer, cells.centres)
    deep = plan.at(plan.depth, cells.centres) > depth_px
    return cells[deep & (layer > layers[0]) & (layer < layers[1])]


def wrap_fibres(plan: Plan, shapes: Shapes) -> Plan:
    """Bend the fibres around glands and vessels."""
    mask = np.zeros(plan.depth.shape, np.uint8)
    for outlines in (shapes.glands, shapes.vessels):
        outlines.paint(mask, scale=1 / PLAN)
    near = np.exp(distance((mask == 0).astype(np.uint8)) / -40).astype(np.float32)
    across = plan.across + 130 * cv2.GaussianBlur(near, (0, 0), 2)
    return Plan(plan.depth, plan.layer, plan.along, across, plan.loose)
