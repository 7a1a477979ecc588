"""The exceptions that bipl raises on purpose.

::

    BiplError
      UnsupportedSlideError (ValueError)     no driver reads this; says what each one said
      CorruptSlideError     (ValueError)     recognised, but broken; says where
        CorruptTileError                     one tile; names level, row, column, offset
      RemoteError           (OSError)        the server or the network
      MissingDependencyError (ImportError)   says what to install
      ClosedSlideError      (ValueError)     used after close()

A missing file is the built-in `FileNotFoundError`.  Only `UnsupportedSlideError` lets the next
driver try a file.  All of them pickle, so they travel out of worker processes.
"""

OTHERS_ARE_SOUND = "other tiles are not affected; bipl.env(corrupt_tiles='background') reads it as background"
"""What to do about a broken tile, for messages."""


class BiplError(Exception):
    """Anything that bipl raises on purpose."""


class UnsupportedSlideError(BiplError, ValueError):
    """No driver reads this file, or this driver does not read such a file."""


class CorruptSlideError(BiplError, ValueError):
    """The format was recognised, but the file breaks its rules."""


class CorruptTileError(CorruptSlideError):
    """One tile cannot be decoded.  The other tiles are not affected."""


class RemoteError(BiplError, OSError):
    """The server or the network failed, after retries."""


class MissingDependencyError(BiplError, ImportError):
    """An optional package is needed and not installed."""


class ClosedSlideError(BiplError, ValueError):
    """The slide, or one of its levels, was used after `close()`."""
