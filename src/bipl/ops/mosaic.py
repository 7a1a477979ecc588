"""Mosaic: an image as overlapping tiles, functions over them, and what comes out put together again.

Every stage is lazy and can be iterated as often as one likes; nothing is read before that.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.arguments import check_function, check_image, checked_count, checked_scale
from bipl.ops.blending import get_fusion
from bipl.ops.scaling import ArrayLike, crop
from bipl.ops.steps import (
    Context,
    Crop,
    Function,
    Keep,
    Map,
    MapBatched,
    Merge,
    Pool,
    Reweight,
    Show,
    Step,
    Strip,
    Transform,
    Within,
)
from bipl.ops.tiling import Index, Report, Tile, TileGrid, tiles_of

Array: TypeAlias = npt.NDArray[Any]

_LINEAR = 1
# By how much the aspect of a shrunk picture may differ: sides are whole pixels.
_MOST_ASKEW = 0.02


class PairedTile(NamedTuple):
    """A tile, and the same place of another image, (h, w, c) of the same height and width."""

    idx: Index
    vec: Index
    data: Array
    other: Array


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Square tiles of `step + overlap` pixels, `step` apart.

    ::

        tiles = Mosaic(step=448, overlap=64).iterate(slide.resample(1.0))
        heat = tiles.select(mask).map(model).reweight().merge()
        array = ops.get_fusion(heat)

    Attributes
    ----------
    step
        Distance of neighbours, in pixels.
    overlap
        Pixels that neighbours share; even, and at most the step.
    """

    step: int
    overlap: int = 0

    def __post_init__(self) -> None:
        for name in ('step', 'overlap'):
            if isinstance(value := getattr(self, name), np.integer):
                object.__setattr__(self, name, int(value))
        if not isinstance(self.step, int) or self.step < 1:
            raise ValueError(f'step: expected a whole number of pixels from 1, found {self.step!r}')
        if not isinstance(self.overlap, int) or self.overlap < 0 or self.overlap % 2:
            raise ValueError(f'overlap: expected an even number of pixels from 0, found {self.overlap!r}')
        if self.overlap > self.step:
            raise ValueError(f'overlap: expected at most the step, {self.step}, found {self.overlap}')

    def iterate(self, image: ArrayLike, max_workers: int | None = None, *, progress: bool = False) -> 'Tiles':
        """Return the tiles of an image, all of them, row by row.

        Parameters
        ----------
        image
            (h, w) or (h, w, c): a slide, a level, a numpy, zarr or dask array.
        max_workers
            Threads that read ahead; None for the setting `threads`, else one a core.
        progress
            Whether iterating shows a bar (tqdm, in a terminal or notebook).
        """
        check_image('image', image)
        grid = TileGrid.centred(image.shape, self.step, self.overlap)
        return Tiles(image, grid, max_workers, (Show(),) if progress else ())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Tiles(Iterable[Tile]):
    """Tiles of an image, row by row, each made when it is asked for.

    Thread-safe, and each iteration is one of its own, as far as the functions and the image are.

    Attributes
    ----------
    image
        What they are read from.
    first
        Where they lie there.
    max_workers
        Threads that read ahead.
    steps
        What is done with them, in order.
    """

    image: ArrayLike
    first: TileGrid
    max_workers: int | None
    steps: tuple[Step, ...] = ()

    @property
    def grid(self) -> TileGrid:
        """Where they lie after the last step."""
        grid = self.first
        for step in self.steps:
            grid = step.grid(grid)
        return grid

    def __iter__(self) -> Iterator[Tile]:
        grid, tiles = self.first, tiles_of(self.image, self.first, self.max_workers)
        for step in self.steps:
            grid, tiles = step.grid(grid), step.run(tiles, grid)
        return tiles

    def _then(self, step: Step, *, progress: bool = False) -> 'Tiles':
        step.grid(self.grid)  # what does not fit is an error here, not later
        return replace(self, steps=(*self.steps, step, *([Show()] if progress else [])))

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        grid = self.grid
        height, width = grid.shape
        return f'<Tiles of {height} x {width}, {grid.side} px: {self.report()}>'

    def report(self) -> Report:
        """Return how many tiles there are, and how much of the image lies in one."""
        return self.grid.report()

    def select(self, mask: ArrayLike, scale: float | None = None) -> 'Tiles':
        """Return those tiles that touch a mask; selecting again leaves those that touch both.

        Parameters
        ----------
        mask
            (h, w) or (h, w, 1) of any type; what is not 0 counts.
        scale
            Pixels of the mask that a pixel of the image spans (1/16 for a mask of a sixteenth); None: the
            mask spans the whole image, each axis by itself.

        Raises
        ------
        ValueError
            If the mask has another shape.
        """
        cells = self.grid.touching(mask, scale)
        if any(isinstance(step, Merge) for step in self.steps):
            return self._then(Keep(cells))
        return replace(self, first=self.first.keep(cells))

    def map(self, function: Function, max_workers: int | None = 0, *, progress: bool = False) -> 'Tiles':
        """Return the tiles as a function changes them.

        Parameters
        ----------
        function
            Takes (h, w, c) and returns (h, w) or (h, w, c'), of any dtype.
        max_workers
            Threads that call it: 0 for none but the caller's, None for one a core.
        progress
            Whether iterating shows a bar.

        Notes
        -----
        An error of the function keeps its class, with a note of the tile's place.
        """
        check_function('function', function)
        return self._then(Map(function, max_workers), progress=progress)

    def map_batched(self, function: Function, batch_size: int = 8, *, progress: bool = False) -> 'Tiles':
        """Return the tiles as a function changes several of them at once, in the calling thread.

        Parameters
        ----------
        function
            Takes (n, h, w, c) and returns (n, h, w) or (n, h, w, c').
        batch_size
            The most tiles of a call; the last may have fewer.
        progress
            Whether iterating shows a bar.
        """
        check_function('function', function)
        return self._then(MapBatched(function, checked_count('batch_size', batch_size, 1)), progress=progress)

    def pool(self, k: 'int | np.integer[Any]') -> 'Tiles':
        """Return tiles shrunk k times by area mean; k divides the step and half the overlap."""
        return self._then(Pool(int(k) if isinstance(k, np.integer) else k))

    def reweight(self) -> 'Tiles':
        """Return tiles weighed by `get_trapz` over the sum of all weights: they add up without seams.

        Only tiles that are used count, so borders of a selection keep their values.  Samples become real
        numbers, float32 at least; without overlap they stay as they are.
        """
        return self._then(Reweight())

    def merge(self, *, progress: bool = False) -> 'Tiles':
        """Return the sum of tiles where they overlap, as blocks of `step` that do not.

        Streams: two rows of tiles are held.  Call `reweight` before.
        """
        return self._then(Merge(), progress=progress)

    def strip(self) -> 'Tiles':
        """Return the tiles without their overlap: the middles, which cover the image side by side."""
        return self._then(Strip())

    def crop(self) -> 'Tiles':
        """Return the tiles without what reaches outside the image."""
        return self._then(Crop())

    def zip_with(
        self, view: ArrayLike, scale: float | None = None, interpolation: int = _LINEAR
    ) -> 'PairedTiles':
        """Return each tile beside the same place of another image, at the tile's size.

        Parameters
        ----------
        view
            (h, w) or (h, w, c); outside it is 0.
        scale
            Pixels of the view that a pixel of the tiles spans; None: that of their resolutions where both are
            known and fit the sizes, else the view spans the whole image.
        interpolation
            OpenCV's codes, see `ops.rescale_crop`; masks need 0, nearest.
        """
        check_image('view', view)
        scales = (checked_scale('scale', scale),) * 2 if scale is not None else self._scales_of(view)
        return PairedTiles(self, view, scales, interpolation)

    def _scales_of(self, view: ArrayLike) -> tuple[float, float]:
        """Return pixels of a view a pixel of the tiles, per axis.

        What is a pixel short, since sizes are whole numbers, has the scale that its resolution tells.
        """
        spanned = _spanned(view.shape[:2], self.grid.shape)
        own, other = getattr(self.image, 'mpp_yx', None), getattr(view, 'mpp_yx', None)
        if own is None or other is None:
            return spanned
        pooled = self.first.step / self.grid.step
        told = own[0] * pooled / other[0], own[1] * pooled / other[1]
        sizes = zip(view.shape, self.grid.shape, told, strict=False)
        fits = all(abs(size - side * scale) <= max(1, scale) for size, side, scale in sizes)
        return told if fits else spanned

    def transform(self, function: Callable[[Iterator[Tile]], Iterable[Tile]]) -> 'Tiles':
        """Return what a function makes of the iterator over the tiles: as many, of the same places."""
        check_function('function', function)
        return self._then(Transform(function))

    def with_(self, context: Context) -> 'Tiles':
        """Return the tiles, made inside a context: one that can be entered again, or what makes one.

        What a context changes for a thread alone, as `torch.inference_mode` and `numpy.errstate` do, holds
        in the calling one: for `map_batched`, and for `map` with no threads of its own.
        """
        if not isinstance(context, AbstractContextManager):
            check_function('context', context)
        return self._then(Within(context))

    def numpy(self, shape: tuple[int, int] | None = None) -> Array:
        """Return all tiles in one array, see `ops.get_fusion`."""
        return get_fusion(self, shape)


@dataclass(frozen=True)
class PairedTiles(Iterable[PairedTile]):
    """Tiles, each beside the same place of another image."""

    tiles: Tiles
    view: ArrayLike
    scales: tuple[float, float]
    interpolation: int

    def __len__(self) -> int:
        return len(self.tiles)

    def __iter__(self) -> Iterator[PairedTile]:
        for idx, (y, x), data in self.tiles:
            box = (y, y + data.shape[0]), (x, x + data.shape[1])
            other = crop(self.view, box, self.scales, self.interpolation)
            yield PairedTile(idx, (y, x), data, other if other.ndim == 3 else other[:, :, None])


def _spanned(view: tuple[int, ...], image: tuple[int, int]) -> tuple[float, float]:
    """Return the scale of each axis at which a view spans an image; its sides may be rounded.

    Raises
    ------
    ValueError
        If it has another aspect.
    """
    scales = tuple(v / s for v, s in zip(view, image, strict=False))
    if len(scales) == 2 and 0 not in scales:
        rounded = 1 + max(1 / side for side in view)
        if max(scales) / min(scales) <= max(1 + _MOST_ASKEW, rounded):
            return scales
    raise ValueError(
        f'view: expected the aspect of {image[0]} x {image[1]}, found {" x ".join(map(str, view))}; '
        'resize it, or give a scale'
    )
