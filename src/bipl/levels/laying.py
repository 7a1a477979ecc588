"""Tiles laid into the arrays of boxes: out of the cache, or decoded, and kept there or let go of."""

from collections.abc import Callable, Collection, Hashable, Sequence
from functools import partial
from typing import Any, TypeAlias

from bipl.cache import TileCache
from bipl.flight import Flight
from bipl.geometry import BOTTOM, Box, Placement
from bipl.levels.decoding import TileDecoder
from bipl.levels.passing import Passing
from bipl.levels.pasting import paste, seen_in
from bipl.levels.source import Array
from bipl.levels.walk import Walk
from bipl.sharing import share_out

# An array, its box, and what it sees of a tile.
Use: TypeAlias = tuple[Array, Box, Placement]


class TileLaying:
    """Lays the tiles of one level into arrays of boxes.

    Thread-safe: of threads that want the same tile one decodes it, or each the part that it sees.

    Parameters
    ----------
    decoder, cache, key
        What decodes its tiles, and where they are kept, under which name beside their numbers.
    passing
        Which tiles are let go of; None where all are kept.
    fill
        The background, one value or one a channel.
    render
        Makes an absent tile of the next finer level; None for background.
    is_cached
        Whether tiles are kept at all, not those that are but copied.
    """

    def __init__(
        self,
        decoder: TileDecoder,
        cache: TileCache,
        key: Hashable,
        *,
        passing: Passing | None,
        fill: Any,
        render: Callable[[Placement], Array | None] | None,
        is_cached: bool,
    ) -> None:
        self._decoder, self._cache, self._key = decoder, cache, key
        self._passing, self._fill, self._render = passing, fill, render
        self._is_cached = is_cached

    def tile_at(self, place: Placement, bottom: int = BOTTOM) -> Array | None:
        """Return a tile, decoded unless it is cached; None for background.

        It may end at a row of the level, `bottom`, below which nothing of it is needed.
        """
        tile = place.tile
        if self._is_cached:
            rows = place.rows_above(bottom)
            pixels = self._cache.get((self._key, tile), self._decoder.decode, tile, rows, rows=rows)
        else:
            pixels = self._decoder.decode(tile, place.rows_above(BOTTOM))
        return self._render(place) if pixels is None and self._render is not None else pixels

    def lay(self, uses: Sequence[Use], bottom: int = BOTTOM, walk: Walk | None = None) -> None:
        """Lay a tile into the arrays of boxes; decoded unless it is cached, kept if that seems to pay.

        That is so where enough is asked for again, and where a walk comes back to it.
        """
        if not self._lays_first(uses, bottom, walk):
            self._paste(uses, self.tile_at(uses[0][2], bottom))

    def lay_all(
        self, missing: dict[int, list[Use]], bottom: int, walk: Walk | None, *, most_workers: int
    ) -> None:
        """Lay tiles that are not cached, by number, in as many threads.

        What another thread is at is left for the end, when that is done with it.
        """
        passing, later = self._passing, list[list[Use]]()
        lays = partial(self._lays_first, bottom=bottom, walk=walk)

        def lay(uses: list[Use]) -> None:
            if not lays(uses):
                later.append(uses)

        if walk is None and passing is not None and not self._decoder.decodes_parts:
            keys: dict[Hashable, list[Use]] = {(self._key, tile): uses for tile, uses in missing.items()}
            if passing.lets_go(keys):
                later.extend(self._let_all_pass(passing, keys, bottom, most_workers))
                missing = {}
            lays = partial(self._lays_kept, bottom=bottom)
        _share_out(lay, missing.values(), bottom, most_workers)
        for uses in later:
            self.lay(uses, bottom, walk)

    def _let_all_pass(
        self, passing: Passing, keys: dict[Hashable, list[Use]], bottom: int, most_workers: int
    ) -> list[list[Use]]:
        """Lay tiles and let go of them; return those that are there by now, or that other threads are at.

        They are begun all at once, in one thread.  Nothing is waited for until they are done: two threads
        could wait for what the other one has not begun.
        """
        mine = self._cache.begin(keys)
        try:
            others = [uses for key, uses in keys.items() if key not in mine]
            lay = partial(self._lay_passing, passing, mine, bottom)
            _share_out(lay, [keys[key] for key in mine], bottom, most_workers)
        finally:
            self._cache.end(mine, passing.tile_bytes)
        return others

    def _lays_first(self, uses: Sequence[Use], bottom: int, walk: Walk | None) -> bool:
        """Lay a tile, and say whether that could be: not where another thread is at it; that one keeps it."""
        (_, box, place), passing = uses[0], self._passing
        key = self._key, place.tile
        if passing is None or passing.keeps(key, box, place, walk):
            return self._lays_kept(uses, bottom)
        if self._decoder.decodes_parts and len(uses) == 1 and self._lays_part(passing, uses[0]):
            return True
        if walk is not None and self._decoder.is_rowwise:
            bottom = box.y1  # a walk that comes back needs the rest, too; this tile it does not come back to
        mine = self._cache.begin((key,))
        if not mine:
            return False
        try:
            self._lay_passing(passing, mine, bottom, uses)
        finally:
            self._cache.end(mine, passing.tile_bytes)
        return True

    def _lays_kept(self, uses: Sequence[Use], bottom: int) -> bool:
        """Lay a tile that is kept, see `_lays_first`."""
        place = uses[0][2]
        is_begun = self._is_cached and self._cache.expects((self._key, place.tile))
        if not is_begun:
            self._paste(uses, self.tile_at(place, bottom))
        return not is_begun

    def _lays_part(self, passing: Passing, use: Use) -> bool:
        """Decode what a box sees of a tile, less than all, into its array, and say whether that could be."""
        out, box, place = use
        seen, memory = seen_in(out, box, place), passing.memory()
        is_laid = seen.shape != memory.shape and self._decoder.lay_part(seen, box, place, memory)
        passing.give_back(memory)
        return is_laid

    def _lay_passing(
        self, passing: Passing, mine: dict[Hashable, Flight], bottom: int, uses: Sequence[Use]
    ) -> None:
        """Lay a tile that is let go of, decoded into memory at hand, or right into the array of its box."""
        out, box, place = uses[0]
        key, target = (self._key, place.tile), passing.memory()
        memory = target
        # Rows of both are alike, or may lie apart.
        if (out.shape[1] == memory.shape[1] or self._decoder.decodes_parts) and len(uses) == 1:
            seen = seen_in(out, box, place)
            target = seen if seen.shape == memory.shape else memory
        pixels = self._decoder.decode_into(place.tile, place.rows_above(bottom), target)
        self._cache.land(mine, key, pixels)
        if pixels is None or pixels is not target or target is memory:
            if pixels is None and self._render is not None:
                pixels = self._render(place)
            self._paste(uses, pixels)
        passing.give_back(memory)

    def _paste(self, uses: Sequence[Use], pixels: Array | None) -> None:
        """Lay a tile, or background, into the arrays of boxes."""
        for out, box, place in uses:
            paste(out, box, place, self._fill if pixels is None else pixels, self._fill)


def _share_out(
    lay: Callable[[list[Use]], object], tiles: Collection[list[Use]], bottom: int, most_workers: int
) -> None:
    if most_workers > 1 and len(tiles) > 1:
        # Those that are cut take less time: they go last, so that nobody waits for long at the end.
        whole = [uses for uses in tiles if uses[0][2].y1 <= bottom]
        cut = [uses for uses in tiles if uses[0][2].y1 > bottom]
        share_out(lay, whole, cut, most_workers=most_workers)
    else:
        for uses in tiles:
            lay(uses)
