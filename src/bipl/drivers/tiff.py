"""The native driver: TIFF, and what scanners make of it."""

from bipl.drivers.base import Driver
from bipl.settings import Settings
from bipl.storage.opening import open_source
from bipl.storage.source import Access, Sourceable
from bipl.tiff.file import open_tiff
from bipl.vendors import aperio, generic, ventana


class TiffDriver(Driver):
    """Reads TIFF by its own parser; vendors are asked in turn, the generic one takes the rest."""

    name = 'tiff'

    def __init__(self, source: Sourceable, access: Access, settings: Settings) -> None:
        self._source = open_source(source, access=access, settings=settings)
        try:
            tiff = open_tiff(self._source)
            self.info = (
                aperio.describe(tiff)
                or ventana.describe(tiff, settings.bif_placement)
                or generic.describe(tiff)
            )
        except BaseException:
            self._source.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()
