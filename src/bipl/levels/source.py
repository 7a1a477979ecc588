"""TileSource: what a format must offer, and nothing more."""

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from bipl.geometry import Box, Grid

Array: TypeAlias = npt.NDArray[Any]


class TileSource(Protocol):
    """A grid of tiles, each decoded when asked for, from any thread.

    Attributes
    ----------
    name
        For messages: the file and the part of it.
    key
        Begins the cache keys of its tiles: equal for two sources only if their tiles are equal.
    grid
        Which tiles touch a box, and where they land.
    dtype, channels
        Of decoded tiles.
    """

    name: str

    @property
    def key(self) -> Hashable:
        """See the class."""
        ...

    @property
    def grid(self) -> Grid:
        """See the class."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the class."""
        ...

    @property
    def channels(self) -> int:
        """See the class."""
        ...

    def decode(self, tile: int) -> Array | None:
        """Decode a tile to (h, w, channels), at least what its placement covers; None if absent.

        It may be a view of the file where there is nothing to decode.

        Where the source has an attribute `has_alpha` that is true, and is of uint8, a tile may have one more
        channel: alpha, multiplied in.  It is laid on the background.

        Raises
        ------
        CorruptTileError
            If it cannot be decoded.
        """
        ...


@runtime_checkable
class ReducibleSource(TileSource, Protocol):
    """A `TileSource` whose codec can decode at a half, a quarter ... of the size."""

    @property
    def reductions(self) -> int:
        """How often tiles can be halved while they are decoded; 0 if these cannot."""
        ...

    def decode_reduced(self, tile: int, times: int) -> Array | None:
        """Decode a tile at `1 / 2**times`, sizes rounded up, `times` up to `reductions`; None if absent."""
        ...


@runtime_checkable
class RowwiseSource(TileSource, Protocol):
    """A `TileSource` whose tiles can be decoded from the top down as far as they are needed.

    Attributes
    ----------
    is_rowwise
        Whether that takes less time than a whole tile.
    """

    @property
    def is_rowwise(self) -> bool:
        """See the class."""
        ...

    def decode_rows(self, tile: int, rows: int, times: int = 0) -> Array | None:
        """Decode the first rows of a tile, or more, at `1 / 2**times`; None if absent.

        `rows` are those of the whole tile at full size.
        """
        ...


@runtime_checkable
class IntoSource(TileSource, Protocol):
    """A `TileSource` that can decode into memory that it is given.

    Attributes
    ----------
    decodes_into
        Whether it can, of its tiles as they mostly are.
    """

    @property
    def decodes_into(self) -> bool:
        """See the class."""
        ...

    def decode_into(self, tile: int, out: Array, rows: int = 0, times: int = 0) -> Array | None:
        """Decode a tile at `1 / 2**times`, into an array of a whole tile's shape where that can be.

        The first rows, at full size, are enough, if their number is given.  Returns the array, or the rows
        of it that were decoded; else what `decode` gives.  The array may hold anything afterwards.
        """
        ...


@runtime_checkable
class PartSource(TileSource, Protocol):
    """A `TileSource` that can decode a part of a tile alone.

    Attributes
    ----------
    decodes_parts
        Whether it can, of its tiles as they mostly are.
    """

    @property
    def decodes_parts(self) -> bool:
        """See the class."""
        ...

    def decode_part(self, tile: int, out: Array, corner: tuple[int, int], memory: Array) -> bool:
        """Decode what lies at a corner (y, x) of a tile into an array, and say whether that could be.

        If not, for whatever reason, the array holds anything, and the tile is decoded otherwise.  `memory` is
        to work in, of a whole tile's shape.
        """
        ...


@runtime_checkable
class FlatSource(TileSource, Protocol):
    """A `TileSource` that copies boxes faster than tile by tile.

    Attributes
    ----------
    is_flat
        Whether it does.
    """

    @property
    def is_flat(self) -> bool:
        """See the class."""
        ...

    def lay(self, out: Array, box: Box) -> bool:
        """Lay what a box has of the picture into its array, and say whether that could be.

        If not, for whatever reason, the array holds anything inside of the picture, and tiles are decoded.
        """
        ...


@runtime_checkable
class FarSource(TileSource, Protocol):
    """A `TileSource` whose bytes may come from afar: many tiles are asked for at once."""

    @property
    def gathers(self) -> bool:
        """Whether they do."""
        ...

    def gathered(self, tiles: Sequence[int]) -> AbstractContextManager[None]:
        """Have the bytes of tiles at hand while inside: decoding them, in any thread, asks for no more."""
        ...
