"""What a box of a picture needs of a stored level, and what becomes of it."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from bipl.geometry import Box
from bipl.levels.source import Array

if TYPE_CHECKING:
    from bipl.levels.image import Image
    from bipl.levels.level import ImageLevel

# A box that needs more than this by itself is read in bands, as `read` does.
_MOST_PLANNED_BYTES = 2**25


class Need(NamedTuple):
    """What one box of a picture needs, and what becomes of it.

    Attributes
    ----------
    level, box
        Pixels of a level to read; no level for a picture that reads by itself.
    finish
        Makes what was asked for of those pixels; None where that is the same.
    """

    level: 'ImageLevel | None'
    box: Box
    finish: Callable[[Array], Array] | None = None

    def made_of(self, pixels: Array) -> Array:
        """Return what was asked for."""
        return pixels if self.finish is None else self.finish(pixels)

    def then(self, function: Callable[[Array], Array]) -> 'Need':
        """Return the need of what a function makes of this."""
        finish = self.finish
        chain = function if finish is None else lambda pixels: function(finish(pixels))
        return Need(self.level, self.box, chain)

    @property
    def size_bytes(self) -> int:
        """Of the pixels of the level."""
        return 0 if self.level is None else self.level.size_bytes(self.box)


class Cut(NamedTuple):
    """Pixels that were read, in place of the picture that they are of."""

    box: Box
    pixels: Array

    def read(self, box: Box) -> Array:
        """Return a box that lies inside, as a view."""
        y, x = self.box.y0, self.box.x0
        return self.pixels[box.y0 - y : box.y1 - y, box.x0 - x : box.x1 - x]


def alone(image: 'Image', box: Box, read: Callable[[], Array] | None = None) -> Need:
    """Return the need of a box that is read by itself."""
    return Need(None, box, lambda _: image.read(box) if read is None else read())


def planned(need: Need, image: 'Image', box: Box, read: Callable[[], Array] | None = None) -> Need:
    """Return a need, or that of a box read by itself where it takes too much memory at once."""
    return alone(image, box, read) if need.size_bytes > _MOST_PLANNED_BYTES else need


def gathered(image: 'Image', boxes: Iterable[Box]) -> AbstractContextManager[None]:
    """Have the bytes that boxes need at hand while inside, where they come from afar.

    All are asked for at once, so that reading them takes no more requests.
    """
    needs = [need for need in map(image.need, boxes) if need.level is not None]
    level = needs[0].level if needs else None
    if level is None or not level.gathers:
        return nullcontext()
    return level.gathered(sorted({place.tile for need in needs for place in level.touching(need.box)}))
