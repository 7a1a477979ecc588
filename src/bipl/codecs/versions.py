"""What the installed imagecodecs can do, by its version."""

from functools import cache

import imagecodecs


@cache
def imagecodecs_version() -> tuple[int, ...]:
    """Return the version as numbers, `(2026, 3, 6)`."""
    return tuple(int(part) for part in imagecodecs.__version__.split('.') if part.isdigit())
