"""Changed files must end in pixels or in a BiplError, soon: ``python -m tests.fuzz [SECONDS [SEED]]``.

A file that does anything else is kept in `.cache/fuzz`, and the command fails.
"""

import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from types import FrameType

import imagecodecs
import numpy as np

from bipl import BiplError, Slide
from bipl.levels import passing
from tests.builders.bif import Area, Bif, build_bif, encode_info
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff

KEPT = Path('.cache/fuzz')
MOST_SECONDS, MOST_BYTES = 20, 4 * 2**30
IMAGE = smooth_image(300, 400)
BIFS = (
    Bif(),
    Bif(areas=(Area(rows=2, columns=3, y=300), Area(rows=3, columns=2, row=2, column=3, x=240, y=40))),
    Bif(
        overlap=lambda _, row, column: (7 + column % 3, 50 + row), downsamples=(1, 2, 4, 8), compression='lzw'
    ),
)
VALUES = (
    *('0', '-1', '1', '2', '3', '7', '48', '64', '65', '0.5', '1e9', '1e300', '1e-320', 'nan', 'inf', '-5'),
    *('', 'x', '4294967296', '100000', 'RIGHT', 'UP', 'DOWN', '9' * 400),
)


def sound_files() -> list[bytes]:
    """Return files to change."""
    tiffs = [
        Directory(image=IMAGE, tile=(64, 48), photometric='rgb', compression='lzw', predictor=2),
        Directory(image=IMAGE, tile=(128, 128), photometric='ycbcr', compression='jpeg'),
        Directory(image=noise_image(200, 300, 2, np.uint16), rows_per_strip=13, compression='adobe_deflate'),
        Directory(image=noise_image(200, 300, 1, bool), bits=1),
    ]
    return [
        build_svs(IMAGE, tile=64, downsamples=(1, 4)),
        build_svs(IMAGE, tile=128, downsamples=(1,), compression='aperio_33005', thumbnail=False),
        *(build_tiff([directory, directory], big=i % 2 == 1) for i, directory in enumerate(tiffs)),
        *map(build_bif, BIFS),
        bytes(imagecodecs.png_encode(IMAGE)),
        bytes(imagecodecs.jpeg8_encode(IMAGE)),
        bytes(imagecodecs.jpeg2k_encode(IMAGE)),
        bytes(imagecodecs.webp_encode(IMAGE)),
    ]


def changed(data: bytes, chance: Random) -> bytes:
    """Return a file with some bytes changed, and perhaps cut off."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        out[chance.randrange(len(out))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(out[: chance.randrange(len(out))]) if chance.random() < 0.1 else bytes(out)


def changed_bif(chance: Random) -> bytes:
    """Return a BIF whose XML has other values."""
    bif = chance.choice(BIFS)
    xml = encode_info(bif)
    for _ in range(chance.choice((1, 1, 2, 3))):
        attribute = chance.choice(re.findall(r'="[^"]*"', xml))
        xml = xml.replace(attribute, f'="{chance.choice(VALUES)}"', chance.choice((1, -1)))
    return build_bif(bif, xml)


def read(data: bytes, chance: Random) -> None:
    """Open a file and read some of each picture in it."""
    with Slide.open(data) as slide:
        for level in (*slide.levels, *(slide.extras[name] for name in slide.extras)):
            y, x = (chance.randrange(max(1, size)) for size in level.shape[:2])
            level.part((y - 50, y + 100), (x - 50, x + 100))
            level.octave().part((y // 2 - 50, y // 2 + 50), (x // 2 - 50, x // 2 + 50))
        dict(slide.properties)
        if max(slide.shape[:2]) < 20_000:
            slide.thumbnail(64)


def stop(_: int, __: FrameType | None) -> None:
    raise TimeoutError


def outcome(data: bytes, chance: Random) -> str:
    """Return what comes of a file: `pixels`, the name of an error, or `BAD` with a trace on stderr."""
    signal.alarm(MOST_SECONDS)
    try:
        read(data, chance)
    except BiplError as error:
        return type(error).__name__
    except Exception:  # noqa: BLE001 - this is what is looked for
        traceback.print_exc()
        return 'BAD'
    finally:
        signal.alarm(0)
    return 'pixels'


def main(seconds: float = 60, seed: int = 0) -> int:
    """Change and read files for some time; return how many did what they must not."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    signal.signal(signal.SIGALRM, stop)
    passing.FIRST_BYTES = 0  # as large slides are read: tiles are let go of, and decoded in parts
    chance, files = Random(seed), sound_files()
    found: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = changed_bif(chance) if chance.random() < 0.3 else changed(chance.choice(files), chance)
        result = outcome(data, chance)
        if result == 'BAD':
            KEPT.mkdir(parents=True, exist_ok=True)
            (KEPT / f'{seed}-{found.total()}').write_bytes(data)
        found[result] += 1
    counts = ', '.join(f'{count} {name}' for name, count in found.most_common())
    sys.stdout.write(f'seed {seed}: {found.total()} files: {counts}\n')
    return found['BAD']


if __name__ == '__main__':
    raise SystemExit(min(main(*map(int, sys.argv[1:])), 1))
