"""How often components of JPEG are sampled, and what TurboJPEG knows of it.

Source: `getSubsamp` in `turbojpeg.c` of libjpeg-turbo 3.0; others it refuses, though libjpeg decodes them.
"""

# Of the first three components, a hexadecimal digit for columns and one for rows (ITU-T T.81, B.2.2).
_NAMED = frozenset((
    '111111', '121111', '121212', '131313', '141111', '211111', '212121', '221111', '221212', '222121',
    '313131', '411111',
))  # fmt: skip


def is_named(factors: bytes) -> bool:
    """Whether TurboJPEG has a name for the factors of components, of which black has to be like the first."""
    return len(factors) == 1 or (factors[:3].hex() in _NAMED and factors[3:] in {b'', factors[:1]})
