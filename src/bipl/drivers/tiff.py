"""The native driver: TIFF, and what scanners make of it."""

from bipl.drivers.base import Driver
from bipl.settings import Settings
from bipl.storage.opening import open_source
from bipl.storage.source import Access, Sourceable
from bipl.tiff.file import TiffFile, open_tiff
from bipl.vendors import aperio
from bipl.vendors.info import SlideInfo

# Of a closed file it is remembered what so many directories hold, some 5 kB each; stacks have thousands.
_MOST_REMEMBERED = 256


class TiffDriver(Driver):
    """Reads TIFF by its own parser; vendors are asked in turn, the generic one takes the rest."""

    name = 'tiff'

    def __init__(self, source: Sourceable, access: Access, settings: Settings) -> None:
        self._source = open_source(source, access=access, settings=settings)
        try:
            tiff = open_tiff(self._source)
            self.info = aperio.describe(tiff) or _describe(tiff, settings)
            self.is_reopenable = len(tiff.directories) <= _MOST_REMEMBERED
        except BaseException:
            self._source.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def reopen(self) -> bool:
        """Open the file again, its directories known, if it is the same."""
        return self._source.reopen()


def _describe(tiff: TiffFile, settings: Settings) -> SlideInfo:
    """Ask those who know other vendors; their modules are imported when there is something to ask."""
    from bipl.vendors import foreign, generic, philips, ventana

    foreign.refuse(tiff)
    found = ventana.describe(tiff, settings.bif_placement) or philips.describe(tiff)
    return found or generic.describe(tiff)
