"""Image: what every picture in a slide can do, whatever makes its pixels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.arguments import checked_items
from bipl.geometry import Box, BoxLike, Key, Span, as_box, parse_key
from bipl.levels.need import Need, alone
from bipl.levels.parts import Part, read_parts
from bipl.levels.rows import read_rows
from bipl.parallel import checked_workers

if TYPE_CHECKING:
    from bipl.levels.mapped import Function, MappedLevel

Array: TypeAlias = npt.NDArray[Any]
Recipe: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]


class Image(ABC):
    """A picture of three axes, `(height, width, channels)`, read box by box.

    `image[y0:y1, x0:x1]` gives a new array, writable and C-contiguous, of exactly the shape asked for.
    Bounds are coordinates: what lies outside the image is background.  Steps and a negative bound
    beside an open one are refused with what to write instead.

    Thread-safe.  Pickles if the slide it belongs to does.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Of the samples."""

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    @property
    def size(self) -> int:
        """Number of samples: height times width times channels."""
        height, width, channels = self.shape
        return height * width * channels

    @property
    def mpp_yx(self) -> tuple[float, float] | None:
        """Micrometres per pixel of its own, per axis; None if unknown."""
        return None

    @property
    def default_workers(self) -> int | None:
        """Threads that `parts` uses when it is not told; None for one a core."""
        return None

    @property
    def gathers(self) -> bool:
        """Whether its bytes come from afar, so that they are best asked for together."""
        return False

    @property
    def rows_decoded_at_once(self) -> int:
        """How many rows are best read together: more than 1 where tiles are too large for the cache."""
        return 1

    @abstractmethod
    def read(self, box: Box) -> Array:
        """Return the pixels of a box, as a new array of (h, w, channels)."""

    def need(self, box: Box) -> Need:
        """Return what a box needs of a stored level: for reading many boxes together."""
        return alone(self, box)

    def part(self, y: Span, x: Span) -> Array:
        """Return the pixels of `[y[0], y[1]) x [x[0], x[1])`."""
        return self.read(as_box((y, x)))

    def parts(self, boxes: Iterable[BoxLike], max_workers: int | None = None) -> Iterator[Part]:
        """Read many boxes, some ahead of the consumer, and yield them in the order asked.

        They are planned together, some hundred at a time (64 MiB of pixels): each tile that they touch is
        decoded once, in the order of the file.

        Parameters
        ----------
        boxes
            Each `((y0, y1), (x0, x1))`.
        max_workers
            Threads to use; None for the setting `threads`, else one a core; 1 for none.

        Yields
        ------
        box, array
            The box as two spans, and its pixels.
        """
        workers = checked_workers(self.default_workers if max_workers is None else max_workers)
        return read_parts(self, checked_items('boxes', boxes), workers)

    def sweep(self, rows: Iterable[Sequence[BoxLike]], max_workers: int | None = None) -> Iterator[Array]:
        """Read boxes that lie in rows, each row below the one before, some ahead of the consumer.

        They may overlap: each tile is decoded once, and what the next row needs of it is held until then.
        Large pictures leave nothing in the tile cache.

        Parameters
        ----------
        rows
            Of boxes `((y0, y1), (x0, x1))`, from left to right; best of one height and width.
        max_workers
            Threads that read ahead; None for the setting `threads`, else one a core; 1 for none.

        Yields
        ------
        array
            The pixels of each box, row by row: (h, w, c), the caller's own.
        """
        workers = checked_workers(self.default_workers if max_workers is None else max_workers)
        boxes = ([as_box(box) for box in checked_items('row', row)] for row in checked_items('rows', rows))
        return read_rows(self, boxes, workers)

    def numpy(self) -> Array:
        """Return the whole picture."""
        return self.read(Box(0, self.shape[0], 0, self.shape[1]))

    def apply(self, function: 'Function', pad: int = 0) -> 'MappedLevel':
        """Return the picture as a function changes it.

        Parameters
        ----------
        function
            Takes (h, w, c) and returns (h, w) or (h, w, c'), of any dtype; or a `PlacedFunction`.
        pad
            Pixels around each that it looks at; 0 if each pixel depends on itself alone.  See `MappedLevel`.
        """
        from bipl.levels.mapped import MappedLevel

        return MappedLevel(self, function, pad)

    def __getitem__(self, key: Key) -> Array:
        box, channels = parse_key(key, self.shape)
        array = self.read(box)
        return array if channels is None else np.ascontiguousarray(array[:, :, channels])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's protocol
        if copy is False:
            raise ValueError('expected copy=None or True: pixels are decoded, so there is nothing to share')
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        """Refuse: without this, Python would ask for rows by number for ever."""
        raise TypeError('a picture is not iterated row by row; use parts(boxes), or numpy() first')
