"""LZW streams, sound and broken: none may take the process with it."""

import subprocess
import sys
from collections.abc import Sequence
from random import Random

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bipl.codecs import lzw

CLEAR, END = 256, 257


def packed(codes: Sequence[int], *, lowest_first: bool = False) -> bytes:
    """Write codes in the widths that TIFF 6.0, section 13, gives them, or files of before 1988."""
    bits, size, since_clear = 0, 0, 0
    for code in codes:
        width = 9 + sum(257 + since_clear >= limit - 1 + lowest_first for limit in (512, 1024, 2048))
        bits = bits | code << size if lowest_first else bits << width | code
        size += width
        since_clear = 0 if code == CLEAR else since_clear + 1
    padding = -size % 8
    return (
        bits.to_bytes((size + 7) // 8, 'little')
        if lowest_first
        else (bits << padding).to_bytes((size + 7) // 8)
    )


def literals(count: int) -> list[int]:
    return Random(count).choices(range(256), k=count)


@pytest.mark.parametrize('lowest_first', [False, True])
@pytest.mark.parametrize('counts', [(3,), (300,), (3000, 5), (1, 1, 3800, 900)])
def test_sound_streams_are_decoded_whole(counts: tuple[int, ...], *, lowest_first: bool) -> None:
    blocks = [literals(count) for count in counts]
    stream = packed([code for block in blocks for code in (CLEAR, *block)] + [END], lowest_first=lowest_first)
    assert lzw.sound_size(stream) == len(stream)
    assert lzw.decode(stream, out=10_000) == b''.join(map(bytes, blocks))


@given(st.integers(0, 9), st.integers(2, 256), st.integers(1, 30_000))
def test_what_encoders_write_is_sound(seed: int, values: int, size: int) -> None:
    data = np.random.default_rng(seed).integers(0, values, size, np.uint8).tobytes()
    stream = imagecodecs.lzw_encode(data)
    assert lzw.sound_size(stream) == len(stream)
    assert lzw.decode(stream, out=size) == data


@pytest.mark.parametrize('first', [258, 300, 511])
def test_what_follows_a_clear_code_without_a_literal_is_left_out(first: int) -> None:
    stream = packed([CLEAR, *literals(50), CLEAR, first, *range(258, 400)])
    assert lzw.decode(stream[: lzw.sound_size(stream)], out=50) == bytes(literals(50))
    assert lzw.sound_size(stream) < len(packed([CLEAR, *literals(50), CLEAR, first]))


@pytest.mark.parametrize(
    'codes', [[CLEAR, 511, *range(258, 400)], [CLEAR, 4095 & 511], [511, 511, 511]], ids=str
)
def test_broken_streams_do_not_kill_the_process(codes: list[int]) -> None:
    program = f'from bipl.codecs import lzw; print(len(lzw.decode({packed(codes)!r}, out=8100)))'
    ended = subprocess.run([sys.executable, '-c', program], capture_output=True, check=False)
    assert ended.returncode in {0, 1}
    assert ended.returncode == 0 or b'ImcdError' in ended.stderr


def test_garbage_does_not_kill_the_process() -> None:
    program = (
        'from random import Random; from bipl.codecs import lzw; chance = Random(3)\n'
        'for _ in range(3000):\n'
        '    try: lzw.decode(bytes([128, *chance.randbytes(chance.randrange(400))]), out=9000)\n'
        '    except Exception: pass\n'
    )
    assert subprocess.run([sys.executable, '-c', program], check=False).returncode == 0
