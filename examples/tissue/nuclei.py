"""Nuclei, and what else is small and drawn one by one: mucus in goblet cells, red blood cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from tissue.noise import ramp, smooth_noise
from tissue.outlines import CORNERS, TURN, Outlines
from tissue.plan import PLAN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tissue.noise import Field, Pixels
    from tissue.plan import Plan, Shapes

Records: TypeAlias = 'NDArray[np.void]'
"""Where nuclei are: (n,) of NUCLEUS."""

NUCLEUS = np.dtype([('y', 'i4'), ('x', 'i4'), ('sort', 'u1'), ('turn', 'u1')])
TURNS = 32  # orientations that each is drawn in, over half a turn
VARIANTS = 6
SPRITE = 48  # side of a drawn nucleus, in pixels


@dataclass(frozen=True, slots=True)
class Sort:
    """How one sort of nucleus looks."""

    half_axes: tuple[float, float]
    """The long and the short one, in pixels."""
    stain: float
    """Of its inside, where 1 is the darkest."""
    rim: float
    """How much darker its membrane is."""
    mottling: float


SORTS = {
    'epithelial': Sort((11.0, 5.8), 0.62, 0.26, 0.22),
    'lymphocyte': Sort((6.6, 6.0), 0.88, 0.05, 0.14),
    'plasma': Sort((8.0, 6.2), 0.68, 0.20, 0.25),
    'spindle': Sort((15.0, 3.0), 0.80, 0.08, 0.12),
    'goblet': Sort((13.0, 7.5), 0.80, 0.00, 0.06),
    'red cell': Sort((6.8, 6.2), 0.75, 0.25, 0.05),
}


def sprites(rng: np.random.Generator, sort: Sort) -> Pixels:
    """Draw one sort, (VARIANTS, TURNS, SPRITE, SPRITE) uint8 of stain."""
    drawn = np.zeros((VARIANTS, TURNS, SPRITE, SPRITE), np.uint8)
    for variant in drawn:
        long, short = np.multiply(sort.half_axes, rng.uniform(0.85, 1.12, 2))
        wobble = 1 + 0.08 * smooth_noise(rng, variant.shape[1:], 12)
        inside = sort.stain * (1 + sort.mottling * smooth_noise(rng, variant.shape[1:], 4))
        for turn in range(TURNS):
            radius = ellipse(long, short, turn * np.pi / TURNS) * wobble
            edge = ramp(radius, 1 + 1 / short, 1 - 1 / short)
            variant[turn] = np.clip(255 * edge * (inside + sort.rim * ramp(radius, 0.55, 0.95)), 0, 255)
    return drawn


def ellipse(long: float, short: float, angle: float) -> Field:
    """Distance from the centre of a sprite, 1 on an ellipse's rim, (SPRITE, SPRITE)."""
    y, x = np.mgrid[:SPRITE, :SPRITE].astype(np.float32) - SPRITE / 2
    along = (x * np.cos(angle) + y * np.sin(angle)) / long
    across = (y * np.cos(angle) - x * np.sin(angle)) / short
    radius: Field = np.hypot(along, across)
    return radius


def grow_nuclei(rng: np.random.Generator, shape: tuple[int, int], plan: Plan, shapes: Shapes) -> Records:
    """Place all nuclei of a picture, from the top down."""
    middle = Outlines(shapes.glands.centres, 0.42 * shapes.lumens.radii + 0.58 * shapes.glands.radii)
    groups = [
        *between(rng, shape, plan, shapes),
        ring(rng, shapes.glands.scaled(1, 14), 'epithelial', 12.5, radial=True),
        ring(rng, middle, 'goblet', 26, radial=True, jitter_px=3),
        surface(rng, plan),
        thinned(rng, ring(rng, shapes.fat, 'spindle', 40), 0.07),
        ring(rng, shapes.vessels.scaled(1, 3), 'spindle', 26),
        *blood(rng, shapes.vessels),
    ]
    found = np.concatenate(groups)
    found = found[(found['x'] >= 0) & (found['x'] < shape[1])]
    return found[np.argsort(found['y'], kind='stable')]


def records(places: Field, sort: str, angles: Field) -> Records:
    """Record nuclei at places (n, 2) as (y, x), their long axes at `angles` in radians."""
    found = np.zeros(len(places), NUCLEUS)
    found['y'], found['x'] = np.rint(places).astype(int).T
    found['sort'] = list(SORTS).index(sort)
    found['turn'] = np.rint(angles * (TURNS / np.pi)).astype(int) % TURNS
    return found


def thinned(rng: np.random.Generator, found: Records, part: float) -> Records:
    """Keep a part of them, by chance."""
    return found[rng.random(len(found)) < part]


def ring(
    rng: np.random.Generator,
    outlines: Outlines,
    sort: str,
    spacing_px: float,
    *,
    radial: bool = False,
    jitter_px: float = 1.5,
) -> Records:
    """Line up nuclei on each outline, pointing to its centre or lying along it."""
    found = [np.zeros(0, NUCLEUS)]
    corners = np.arange(CORNERS + 1) * (TURN / CORNERS)
    for centre, radii in zip(outlines.centres, outlines.radii, strict=True):
        count = max(3, int(TURN * radii.mean() / spacing_px))
        angle = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * (TURN / count)
        radius = np.interp(angle % TURN, corners, [*radii, radii[0]]) + jitter_px * rng.standard_normal(count)
        places = centre + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
        found.append(records(places, sort, angle if radial else angle + np.pi / 2))
    return np.concatenate(found)


def blood(rng: np.random.Generator, vessels: Outlines) -> list[Records]:
    """Fill the vessels with red cells, in rings from the wall inwards."""
    groups = []
    for inset in range(12, 140, 11):
        inner = vessels[vessels.radii.mean(1) > inset + 8].scaled(1, inset)
        groups.append(thinned(rng, ring(rng, inner, 'red cell', 14, jitter_px=4), 0.75))
    return groups


def surface(rng: np.random.Generator, plan: Plan) -> Records:
    """Stand nuclei side by side under the rim of the tissue, where there are glands."""
    contours, _ = cv2.findContours((plan.depth > 26).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    slope_y, slope_x = np.gradient(cv2.GaussianBlur(plan.depth, (0, 0), 2))
    normal = np.arctan2(slope_y, slope_x)
    found = [np.zeros(0, NUCLEUS)]
    for contour in contours:
        line = cv2.blur(contour[:, 0, ::-1].astype(np.float32), (1, 5)) * PLAN + PLAN / 2
        places = evenly(line, 10.5)
        places += rng.normal(0, 3, places.shape).astype(np.float32)
        glandular = plan.at(plan.layer, places) > 0.2
        found.append(records(places, 'epithelial', plan.at(normal, places))[glandular])
    return np.concatenate(found)


def evenly(line: Field, spacing_px: float) -> Field:
    """Space points (n, 2) evenly along a line of points."""
    length = np.append(0, np.hypot(*np.diff(line, axis=0).T).cumsum())
    stops = np.arange(0, length[-1], spacing_px)
    return np.stack([np.interp(stops, length, axis) for axis in line.T], 1).astype(np.float32)


def between(
    rng: np.random.Generator, shape: tuple[int, int], plan: Plan, shapes: Shapes, spacing_px: int = 13
) -> list[Records]:
    """Scatter nuclei among the fibres: spindles along them, round cells near glands and in follicles."""
    grid = np.indices((shape[0] // spacing_px, shape[1] // spacing_px)).reshape(2, -1).T
    places = ((grid + rng.uniform(0, 1, grid.shape)) * spacing_px).astype(np.float32)
    places = places[plan.at(free(plan, shapes), places)]
    crowd, patches = (plan.at(field, places) for field in crowding(rng, shapes, plan.depth.shape))
    slope_y, slope_x = np.gradient(plan.across)
    angles = plan.at(np.arctan2(slope_x, -slope_y), places) + rng.normal(0, 0.15, len(places))
    round_cells = 0.015 + 0.10 * ramp(plan.at(plan.layer, places), 0, 0.3) * (1.6 + patches) + 0.85 * crowd
    chance = rng.random(len(places)) - 0.055 * (1 - crowd)
    plasma = rng.random(len(places)) < 0.4 * (1 - crowd)
    sorts = {
        'spindle': chance < 0,
        'lymphocyte': (chance >= 0) & (chance < round_cells) & ~plasma,
        'plasma': (chance >= 0) & (chance < round_cells) & plasma,
    }
    return [records(places[chosen], sort, angles[chosen]) for sort, chosen in sorts.items()]


def free(plan: Plan, shapes: Shapes) -> NDArray[np.bool_]:
    """Say where on the plan there is tissue, but no gland, vessel or fat."""
    closed = np.zeros(plan.depth.shape, np.uint8)
    for outlines in (shapes.glands, shapes.vessels, shapes.fat):
        outlines.paint(closed, scale=1 / PLAN)
    open_tissue: NDArray[np.bool_] = (closed == 0) & (plan.depth > 8)
    return open_tissue


def crowding(rng: np.random.Generator, shapes: Shapes, size: tuple[int, int]) -> tuple[Field, Field]:
    """Say how lymphocytes crowd on the plan: in follicles (0 to 1), and in patches elsewhere (-1 to 2)."""
    crowd = np.zeros(size, np.uint8)
    shapes.follicles.paint(crowd, scale=1 / PLAN)
    crowded = cv2.GaussianBlur(crowd, (0, 0), 9) * np.float32(1 / 255)
    return crowded, np.clip(smooth_noise(rng, size, 20, 2), -1, 2)
