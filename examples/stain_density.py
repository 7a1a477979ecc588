"""Run a function over a slide and keep the result: ``python examples/stain_density.py SLIDE OUT.ome.tif``.

Tissue is found at 8 um/px, tiles of it are read at 1 um/px, a small function measures the density of stain in
each, the tiles are stitched without seams and saved as OME-TIFF; beside it lies a picture of the map.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

import bipl
from bipl import Mosaic, Slide, ops
from bipl.ops.display import to_png

if TYPE_CHECKING:
    from numpy.typing import NDArray

MPP = 1.0
# Of haematoxylin in red, green and blue (Ruifrok and Johnston, 2001).
HAEMATOXYLIN = np.array((0.65, 0.70, 0.29), np.float32)


def stain_density(tile: NDArray[Any]) -> NDArray[np.float32]:
    """Return the optical density of haematoxylin, (h, w) from 0 to 1."""
    density = -np.log10((tile.astype(np.float32) + 1) / 256)
    return np.asarray(np.clip(density @ HAEMATOXYLIN / 1.5, 0, 1), np.float32)


def main(source: str, target: str) -> None:
    """Map the density of stain of a slide."""
    with Slide.open(source) as slide:
        mask = ops.tissue_mask(slide)
        tiles = Mosaic(step=448, overlap=64).iterate(slide.resample(MPP)).select(mask)
        print(tiles.report())
        density = tiles.map(stain_density).reweight().merge()
        bipl.write(target, density, mpp=MPP, compression='zstd')
    with Slide.open(target) as saved:
        picture = ops.probs_to_rgb_heatmap(saved.thumbnail(1024))
    with open(target.removesuffix('.ome.tif') + '.png', 'wb') as file:  # noqa: PTH123
        file.write(to_png(picture))


if __name__ == '__main__':
    if len(sys.argv) != 3:
        raise SystemExit('usage: python examples/stain_density.py SLIDE TARGET.ome.tif')
    main(*sys.argv[1:])
