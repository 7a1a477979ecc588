"""Where the segments of an image lie: offsets and byte counts, and what stands for missing counts."""

from bisect import bisect_right
from collections.abc import Collection

from bipl.lazy import lazy
from bipl.tiff.directory import Directory
from bipl.tiff.image import StoredImage, table_tags
from bipl.tiff.segments import SegmentTable


class SegmentPlaces:
    """Offset and size of each tile or strip of one directory.  Thread-safe; tables come by pages.

    Parameters
    ----------
    directory, image
        Where the tables are, and what they are of.
    row_bytes
        Of a row of a segment without compression.
    """

    def __init__(self, directory: Directory, image: StoredImage, row_bytes: int) -> None:
        offsets, counts = table_tags(directory, is_tiled=image.is_tiled)
        self._source = directory.source
        self._image = image
        self._row_bytes = row_bytes
        self._offsets = SegmentTable(directory, offsets)
        self._counts = SegmentTable(directory, counts) if directory.count(counts) else None

    @property
    def lengths(self) -> tuple[int, int]:
        """How many offsets and byte counts the file lists; planes have segments of their own."""
        return self._offsets.count, self._counts.count if self._counts is not None else 0

    def missing(self, segments: Collection[int]) -> list[tuple[int, int]]:
        """Return what of the tables must be read to locate segments, `(offset, size_bytes)`."""
        counts = self._counts.missing(segments) if self._counts is not None else []
        return self._offsets.missing(segments) + counts

    def locate(self, segment: int) -> tuple[int, int]:
        """Return the offset and size of a segment in the file, size 0 for an absent one."""
        counts, offset = self._counts, self._offsets[segment]
        count = counts[segment] if counts is not None else 0
        return offset, count or self._unknown_size(offset)

    def _unknown_size(self, offset: int) -> int:
        """Return the size of a segment without a count; where the file does not tell, what it has room for.

        A count of 0 means an absent tile.  Of a strip that has a place it means an unknown size, as
        libtiff takes it.
        """
        if not offset or (self._counts is not None and self._image.is_tiled):
            return 0
        if self._image.compression == 1:
            return self._image.tile_height * self._row_bytes
        behind = bisect_right(self._sorted_offsets, offset)
        end = self._sorted_offsets[behind] if behind < len(self._sorted_offsets) else self._source.size
        return max(end - offset, 0)

    @lazy
    def _sorted_offsets(self) -> list[int]:
        return sorted(self._offsets[i] for i in range(self._offsets.count))
