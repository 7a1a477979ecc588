"""Thrift: decode no more rows of a tile than are asked for, as long as nobody comes back for the rest."""

# In tiles.  What is saved counts up to here, and what was decoded in vain down to there; then whole tiles are
# decoded, until so many of them might have been had for less.
_MOST_SAVED = 4.0
_MOST_LOST = -50.0
_REGAINED = 0.05
# Of a tile, above which the whole takes little more time.
_MOST_PART = 0.875


class Thrift:
    """What it has paid so far to decode the tops of tiles only.

    Random reads seldom touch a tile twice; who moves over a slide needs the rest of it next.  So tops are
    decoded on credit: each earns the part that was left out, and costs a tile where the rest is asked for.

    Thread-safe: threads may lose counts of each other, which matters little.
    """

    __slots__ = ('_credit',)

    def __init__(self) -> None:
        self._credit = _MOST_SAVED

    def rows(self, needed: int, height: int, *, has_top: bool = False) -> int:
        """Return how many rows to decode of a tile of which the first are needed; 0 for all.

        All are if fewer were decoded before, which was in vain then.
        """
        if has_top:
            self.regret()
            return 0
        if needed > _MOST_PART * height:
            return 0
        if self._credit < 0:
            self._credit += _REGAINED
            return 0
        self._credit = min(self._credit + 1 - needed / height, _MOST_SAVED)
        return needed

    def regret(self) -> None:
        """Count a tile of which the rest was asked for, too."""
        self._credit = max(self._credit - 1, _MOST_LOST)
