"""Paint tissue: how much stain is where, and the colour that light has behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from tissue.noise import periodic_noise, ramp
from tissue.nuclei import SORTS, SPRITE, VARIANTS, grow_nuclei, sprites
from tissue.plan import PLAN, grow_plan, grow_shapes, wrap_fibres

if TYPE_CHECKING:
    from tissue.noise import Field, Pixels
    from tissue.outlines import Outlines

MARGIN = 16  # rows painted above and below those asked for, so that no blur sees an end
GRAIN_PERIOD = 512

GLASS = (243.0, 241.0, 244.0)  # RGB where there is no tissue
HAEMATOXYLIN = (1.06, 1.50, 0.60)  # absorbance of one unit in red, green and blue
EOSIN = (0.075, 0.82, 0.37)


@dataclass(frozen=True, slots=True)
class Ground:
    """Some rows of the plan at the size of the picture, with their texture; (rows, w) float32."""

    depth: Field
    layer: Field
    loose: Field
    fibre: Field
    """0 to 1, in threads along the fibres."""
    grain: Field
    """0 to 1, fine and without direction."""


@dataclass(frozen=True, slots=True)
class Cover:
    """How much of each pixel is covered, 0 to 1, (rows, w) float32."""

    glands: Field
    lumens: Field
    vessels: Field
    bores: Field
    """The insides of the vessels."""
    fat: Field
    near_fat: Field
    nuclei: Field
    mucus: Field
    red_cells: Field


class Tissue:
    """A picture of stained tissue.

    Parameters
    ----------
    shape
        Height and width in pixels, of about half a micrometre each.
    seed
        The same shape and seed give the same picture.
    """

    def __init__(self, shape: tuple[int, int], seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        self.shape = shape
        plan = grow_plan(rng, shape)
        self._shapes = grow_shapes(rng, shape, plan)
        self._plan = wrap_fibres(plan, self._shapes)
        self._nuclei = grow_nuclei(rng, shape, self._plan, self._shapes)
        self._fibres = periodic_noise(rng, (1024, 2048), ((9, 110), (3.5, 50), (1.7, 26), (1.0, 14)))
        self._grain = periodic_noise(rng, (GRAIN_PERIOD, GRAIN_PERIOD), ((1.2, 1.2), (3, 3)))
        self._sprites = [sprites(rng, sort) for sort in SORTS.values()]

    def paint(self, start: int, stop: int) -> Pixels:
        """Paint rows `start` to `stop`, (rows, w, 3) uint8 RGB; the same whichever rows are asked for."""
        top, bottom = start - MARGIN, stop + MARGIN
        cover = self._cover(top, bottom)
        stains = stain(self._ground(top, bottom), cover)
        haematoxylin, eosin = (cv2.GaussianBlur(amount, (0, 0), 0.8) for amount in stains)
        picture = np.empty((bottom - top, self.shape[1], 3), np.uint8)
        for channel, white in enumerate(GLASS):
            light = cv2.addWeighted(haematoxylin, -HAEMATOXYLIN[channel], eosin, -EOSIN[channel], 0)
            picture[..., channel] = cv2.convertScaleAbs(cv2.exp(light), alpha=white)
        return picture[MARGIN:-MARGIN]

    def _ground(self, top: int, bottom: int) -> Ground:
        plan = self._plan
        depth, layer, loose = (self._enlarged(f, top, bottom) for f in (plan.depth, plan.layer, plan.loose))
        along, across = (self._enlarged(f, top, bottom) for f in (plan.along, plan.across))
        fibre = cv2.remap(self._fibres, along, across, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        rows, columns = (np.arange(*ends) % GRAIN_PERIOD for ends in ((top, bottom), (self.shape[1],)))
        return Ground(depth, layer, loose, part(fibre), part(self._grain[rows][:, columns]))

    def _enlarged(self, field: Field, top: int, bottom: int) -> Field:
        """Give rows `top` to `bottom` of a field of the plan, at the size of the picture."""
        first, last = top // PLAN - 2, -(-bottom // PLAN) + 2
        rows = np.clip(np.arange(first, last), 0, len(field) - 1)
        large: Field = cv2.resize(field[rows], None, fx=PLAN, fy=PLAN, interpolation=cv2.INTER_LINEAR)
        return large[top - first * PLAN : bottom - first * PLAN, : self.shape[1]]

    def _cover(self, top: int, bottom: int) -> Cover:
        shapes = self._shapes
        nuclei, mucus, red_cells = self._stamped(top, bottom)
        return Cover(
            glands=self._filled(shapes.glands, top, bottom),
            lumens=self._filled(shapes.lumens, top, bottom, blur_px=2),
            vessels=self._filled(shapes.vessels, top, bottom),
            bores=self._filled(shapes.vessels.scaled(1, 9), top, bottom),
            fat=self._filled(shapes.fat, top, bottom),
            near_fat=self._filled(shapes.fat.scaled(1, -7), top, bottom, blur_px=4),
            nuclei=part(nuclei),
            mucus=part(mucus),
            red_cells=part(red_cells),
        )

    def _filled(self, outlines: Outlines, top: int, bottom: int, blur_px: float = 0) -> Field:
        plane = np.zeros((bottom - top, self.shape[1]), np.uint8)
        outlines.paint(plane, top=top)
        return part(cv2.GaussianBlur(plane, (0, 0), blur_px) if blur_px else plane)

    def _stamped(self, top: int, bottom: int) -> tuple[Pixels, Pixels, Pixels]:
        """Stamp what is drawn one by one: planes of nuclei, mucus and red cells, (rows, w) uint8."""
        half = SPRITE // 2
        planes = np.zeros((3, bottom - top + 2 * SPRITE, self.shape[1] + 2 * SPRITE), np.uint8)
        targets = [planes[{'goblet': 1, 'red cell': 2}.get(sort, 0)] for sort in SORTS]
        first, last = np.searchsorted(self._nuclei['y'], (top - half, bottom + half))
        for index in range(first, last):
            y, x, sort, turn = self._nuclei[index].tolist()
            y, x = y - top + half, x + half
            patch = targets[sort][y : y + SPRITE, x : x + SPRITE]
            np.maximum(patch, self._sprites[sort][index % VARIANTS, turn], out=patch)
        nuclei, mucus, red_cells = planes[:, SPRITE:-SPRITE, SPRITE:-SPRITE]
        return nuclei, mucus, red_cells


def part(plane: Pixels) -> Field:
    """Turn 0 to 255 into 0 to 1."""
    return plane * np.float32(1 / 255)


def stain(ground: Ground, cover: Cover) -> tuple[Field, Field]:
    """Say how much haematoxylin and eosin each pixel holds, where 1 is a dark nucleus or fibre."""
    haematoxylin, eosin = connective_stain(ground, cover)
    glandular = ramp(ground.layer, 0.15, 0.25)
    epithelium = np.maximum(cover.glands, glandular * ramp(ground.depth, 52, 46))
    haematoxylin += epithelium * (0.10 + 0.20 * ground.grain - haematoxylin)
    eosin += epithelium * (0.34 + 0.26 * ground.grain - eosin)
    frayed = (36 - 30 * glandular) * (ground.fibre - 0.5) + 8 * (ground.grain - 0.5)
    tissue = ramp(ground.depth + frayed, -2, 2)
    empty = np.maximum(np.maximum(cover.lumens, cover.fat), np.maximum(cover.bores, 0.85 * cover.mucus))
    nuclei = cover.nuclei * tissue
    haematoxylin = np.maximum(haematoxylin * tissue * (1 - empty), nuclei) + 0.06 * cover.red_cells
    eosin = eosin * tissue * (1 - empty) * (1 - 0.5 * nuclei) + 0.95 * cover.red_cells
    return haematoxylin, eosin


def connective_stain(ground: Ground, cover: Cover) -> tuple[Field, Field]:
    """Stain the fibres, with gaps between them where the tissue is loose."""
    speckle = ground.grain - 0.5
    whole = np.maximum(cover.vessels, cover.near_fat)
    gap = ramp(0.75 * ground.loose - ground.fibre + 0.12 * speckle, 0, 0.12) * (1 - whole)
    haematoxylin = (0.05 + 0.10 * ramp(ground.layer, 0, 0.35)) * (1 - gap) * (1 + 0.8 * speckle)
    eosin = (0.20 + 0.70 * ground.fibre + 0.22 * speckle) * (1 - 0.9 * gap)
    return haematoxylin, eosin
