"""TileSource: what a format must offer, and nothing more."""

from collections.abc import Hashable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.geometry import Grid

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

        Raises
        ------
        CorruptTileError
            If it cannot be decoded.
        """
        ...
