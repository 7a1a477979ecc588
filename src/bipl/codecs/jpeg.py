"""JPEG tiles and strips: which colours a stream holds, and its decoding.

A stream in a TIFF may lack any word on its colour space.  Aperio stores RGB with no marker and 4:4:4
sampling; libjpeg alone would guess YCbCr.  Others say RGB in the directory and store JFIF, which is
YCbCr.  So the stream's own markers come first, then its sampling, then PhotometricInterpretation.
Sources: ITU-T T.81, annex B; JFIF 1.02; Adobe Technical Note 5116 (APP14); TIFF Technical Note 2.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import imagecodecs
import numpy as np
import simplejpeg

from bipl.codecs.sampling import is_named
from bipl.codecs.segment import Array, Buffer, SegmentFormat, check_claim, reduced

_SOI, _EOI, _SOS, _DRI, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xDD, 0xE0, 0xEE
# SOF0 to SOF15 without DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended and progressive; the others are lossless, differential or arithmetic.
_HUFFMAN_FRAMES = frozenset((0xC0, 0xC1, 0xC2))
_ONE_PASS_FRAMES = frozenset((0xC0, 0xC1))
_UINT8 = np.dtype(np.uint8)
_FILL = 0xFF
_ALONE = frozenset((0x01, _SOI, _EOI, _FILL, *range(0xD0, 0xD8)))


# APP14 of 12 bytes; the last is the transform: 0 for none, 1 for YCbCr.
_ADOBE = b'\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00'
_ADOBE_MARKERS = {None: b'', 'RGB': _ADOBE + b'\x00', 'YCBCR': _ADOBE + b'\x01'}
_FIRST = b'\xff\xd8'
_END = b'\xff\xd9'
_SCAN = b'\xff\xda'
# With the fill bytes before it, which libjpeg does not count.
_LAST_MARKER = re.compile(rb'\xff+\xd9')
_RESTARTS = bytes((0xFF, _DRI, 0, 4))
# All blocks that were wanted were decoded, and bytes follow before the end of the image.
_FOLLOWED = re.compile(r'^Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9')
# What scanners pad streams with.
_PADS = frozenset((b'\x00', b'\x20'))
_BLOCK = 8


class StreamHead(NamedTuple):
    """What the markers before the first scan tell.

    `is_subsampled` says whether components differ in resolution, as only chroma does; `adobe_transform`
    is None without Adobe's marker.  `height_at` is where the frame has its height.  `row_height` is that of
    a row of blocks, in pixels, where they follow one another from top to bottom without restarts; else 0.
    `column_width` is that of a column.  `is_plain` says whether TurboJPEG decodes it: 8 bits, Huffman codes,
    and components that are sampled in a way that it knows.  `size` is where the first scan's number of
    components ends.
    """

    frame: int
    bits: int
    height: int
    width: int
    components: bytes
    is_subsampled: bool
    is_jfif: bool
    adobe_transform: int | None
    height_at: int
    row_height: int
    column_width: int
    is_plain: bool
    size: int


def read_head(data: Buffer) -> StreamHead:
    """Walk the markers up to the first scan.

    Raises
    ------
    ValueError
        If there is no frame.
    """
    view = memoryview(data)
    position, is_jfif, adobe, has_restarts = 0, False, None, False
    frame: tuple[int, memoryview, int] | None = None
    scanned = 0
    while position + 4 <= len(view):
        if view[position] != 0xFF:
            raise ValueError(f'expected a JPEG marker at byte {position}, found {view[position]:#04x}')
        marker = view[position + 1]
        if marker in _ALONE:
            position += 1 if marker == _FILL else 2
            continue
        if marker == _SOS:
            scanned = int.from_bytes(view[position + 4 : position + 5])
            break
        length = view[position + 2] << 8 | view[position + 3]
        body = view[position + 4 : position + 2 + length]
        if marker == _APP0:
            is_jfif = is_jfif or bytes(body[:5]) == b'JFIF\0'
        elif marker == _APP14 and len(body) >= 12 and bytes(body[:5]) == b'Adobe':
            adobe = body[11]
        elif marker == _DRI:
            has_restarts = any(body)
        elif marker in _FRAMES:
            frame = marker, body, position + 5
        position += 2 + length
    if frame is None or len(frame[1]) < 6:
        raise ValueError('expected a JPEG frame, found none')
    blocks = scanned if not has_restarts else 0
    return _head(*frame, blocks, position + 5, is_jfif=is_jfif, adobe=adobe)


def app_bodies(data: Buffer, number: int) -> Iterator[bytes]:
    """Yield the bodies of the APPn markers of one number before the first scan."""
    view, position = memoryview(data), 2
    while position + 4 <= len(view) and view[position] == 0xFF and view[position + 1] != _SOS:
        length = view[position + 2] << 8 | view[position + 3]
        if view[position + 1] == _APP0 + number:
            yield bytes(view[position + 4 : position + 2 + length])
        position += 2 + length


def _head(
    marker: int,
    body: memoryview,
    height_at: int,
    scanned: int,
    size: int,
    *,
    is_jfif: bool,
    adobe: int | None,
) -> StreamHead:
    """Return what a frame's marker says, and how many of its components the first scan has."""
    sampling = bytes(body[7::3])
    is_one_pass = marker in _ONE_PASS_FRAMES and scanned == len(sampling)
    return StreamHead(
        frame=marker,
        bits=body[0],
        height=body[1] << 8 | body[2],
        width=body[3] << 8 | body[4],
        components=bytes(body[6::3]),
        is_subsampled=len(set(sampling)) > 1,
        is_jfif=is_jfif,
        adobe_transform=adobe,
        height_at=height_at,
        row_height=_BLOCK * max(factors & 15 for factors in sampling) if is_one_pass else 0,
        column_width=_BLOCK * max((factors >> 4 for factors in sampling), default=0),
        is_plain=body[0] == 8 and marker in _HUFFMAN_FRAMES and is_named(sampling),
        size=size,
    )


def input_colours(head: StreamHead, form: SegmentFormat) -> str | None:
    """Return the colour space that three-component samples are in; None for libjpeg's own reading."""
    if len(head.components) != 3 or head.adobe_transform is not None:
        return None
    if form.is_rgb:
        return 'YCBCR' if head.is_jfif or head.is_subsampled else 'RGB'
    if form.is_ycbcr:
        return None if head.components == b'RGB' else 'YCBCR'
    return None


class Plan(NamedTuple):
    """What the streams of one head have in common in one directory.

    `space` is what simplejpeg decodes them to, None if they are not of 8 bits that it knows.  `is_expected`
    says whether they keep the directory's promise: only such may ask for memory in its name.  `start` stands
    in for the first marker; None where the streams are complete.  `row_height` is 0 where they cannot be cut.
    """

    head: StreamHead
    space: str | None
    is_expected: bool
    start: bytes | None
    row_height: int


def plan_of(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Plan:
    """Return how to decode a stream, if it claims no more than it may.

    Raises
    ------
    ValueError
        If it claims more, or has no frame.
    """
    if (noted := form.noted.get(shape)) is not None:  # most streams of a level begin alike
        start, known = noted
        if data.startswith(start) if isinstance(data, bytes) else data[: len(start)] == start:
            plan: Plan = known
            return plan
    head = read_head(data)
    check_claim((head.height, head.width), form)
    is_expected = (head.height, head.width) == shape and len(head.components) == form.samples
    # With restarts, a stream that is broken above the cut and one that is merely cut are told alike.
    has_restarts = form.jpeg_tables is not None and _RESTARTS in form.jpeg_tables
    row_height = 0 if has_restarts else head.row_height
    start = _start(form, input_colours(head, form))
    plan = Plan(head, _output_space(head, form), is_expected, start, row_height)
    if head.size <= len(data):  # else its head is cut off, and may be of less than whole ones say
        form.noted[shape] = bytes(data[: head.size]), plan
    return plan


def decode(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Decode a JPEG stream to grey, RGB, or its own samples where it is neither."""
    plan = plan_of(data, form, shape)
    if plan.space is not None:
        return _decode_eight_bits(data, form, plan, 0)
    # imagecodecs goes on in grey where blocks are missing.  A stream that was cut lacks its end; one that is
    # damaged further up, or was given an end, is not noticed.
    if bytes(data).rfind(_END) < bytes(data).rfind(_SCAN):
        raise ValueError('expected a JPEG stream up to its end marker, found none behind the last scan')
    array: Array = imagecodecs.jpeg_decode(
        data,
        tables=form.jpeg_tables,
        colorspace=input_colours(plan.head, form),
        outcolorspace='RGB' if form.is_rgb or form.is_ycbcr else None,
        bitspersample=form.bits,
        shape=shape,
    )
    return array


def decode_reduced(data: Buffer, form: SegmentFormat, shape: tuple[int, int], times: int) -> Array:
    """Decode a stream of 8 bits at 1/2, 1/4 or 1/8, averaged in the DCT domain.

    Raises
    ------
    ValueError
        If it has more bits, is lossless, or sampled in an unusual way.
    """
    plan = plan_of(data, form, shape)
    if plan.space is None:
        head = plan.head
        raise ValueError(
            f'expected a JPEG stream that TurboJPEG decodes, found {head.bits} bits, frame {head.frame:#x}'
        )
    return _decode_eight_bits(data, form, plan, times)


def decode_rows(data: Buffer, form: SegmentFormat, shape: tuple[int, int], times: int, rows: int) -> Array:
    """Decode a stream of 8 bits at `1 / 2**times` from the top down to a row of it, or further.

    A decoder stops where the frame ends, so the frame is said to be lower than it is.  Where chroma is stored
    at a lower resolution, the last row lacks what it is interpolated with, and is left out.

    Raises
    ------
    ValueError
        If it has to be decoded in full, or does not decode.
    """
    plan = plan_of(data, form, shape)
    cut = _cut(plan, rows, times)
    if not cut or plan.head.height != shape[0] or plan.space is None:
        raise ValueError(f'expected a stream whose rows from {rows} on can be left out')
    array = _decode_eight_bits(data, form, plan, times, cut=cut)
    return array[:-1] if plan.head.is_subsampled else array


def decode_into(  # noqa: PLR0917 - as decoders in the table are called
    data: Buffer, form: SegmentFormat, shape: tuple[int, int], out: Array, rows: int, times: int
) -> Array:
    """Decode a stream of 8 bits into an array of (h, w, samples) uint8, at `1 / 2**times`.

    The first rows, counted at full size, are enough, unless there are 0 of them.

    Returns
    -------
    array
        That array, or the rows of it that were decoded.

    Raises
    ------
    ValueError
        If it is not as the directory has it, or does not decode.
    """
    plan = plan_of(data, form, shape)
    expected = reduced(shape, times) if times else shape
    if plan.space is None or not plan.is_expected or out.shape[:2] != expected:
        raise ValueError(f'expected a stream of {shape} pixels of 8 bits')
    cut = _cut(plan, rows, times) if rows else 0
    part = out[: reduced((cut, 0), times)[0]] if cut else out
    smaller = part.shape[:2] if times else None
    _decode_strictly(complete(data, plan, cut), plan.space, part, smaller, is_cut=cut > 0)
    return part[:-1] if cut and plan.head.is_subsampled else part


def _cut(plan: Plan, rows: int, times: int) -> int:
    """Return the height to which a stream is cut of which the first rows are needed; 0 for not at all.

    The last row of those counts whose chroma is interpolated: it lacks what it is interpolated with.
    """
    if not plan.row_height:
        return 0
    height = -(-(rows + (plan.head.is_subsampled << times)) // plan.row_height) * plan.row_height
    return height if height < plan.head.height else 0


def _output_space(head: StreamHead, form: SegmentFormat) -> str | None:
    """Return what simplejpeg decodes a stream to; None if it is not one of 8 bits that it knows."""
    components = len(head.components)
    if not head.is_plain:
        return None
    if form.samples == 1 and components in {1, 3}:
        return 'GRAY'
    if components in {1, 3}:  # grey in a directory of colours stands for three equal ones
        return 'RGB' if form.is_rgb or form.is_ycbcr else None
    return 'CMYK' if components == 4 else None


def _decode_eight_bits(data: Buffer, form: SegmentFormat, plan: Plan, times: int, *, cut: int = 0) -> Array:
    """Decode a stream at `1 / 2**times`, cut to a height if one is given."""
    shape = reduced((cut or plan.head.height, plan.head.width), times)
    buffer = None
    if plan.is_expected:
        make = np.empty if cut else form.empty  # tops are of many sizes, which would all have memory waiting
        buffer = make((*shape, form.samples), _UINT8)
    stream = complete(data, plan, cut)
    decoded = _decode_strictly(stream, plan.space or 'RGB', buffer, shape if times else None, is_cut=cut > 0)
    return decoded if buffer is None else buffer


def _decode_strictly(
    stream: Buffer,
    space: str,
    buffer: Array | None,
    smaller: tuple[int, int] | None,
    *,
    is_cut: bool,
) -> Array:
    """Decode a stream, to a height and width if they are given; one that breaks off is an error.

    libjpeg would go on in grey.  Of its warnings simplejpeg tells the first, when all is decoded; where that
    one says that bytes follow the blocks, none was broken: what was cut off, or padding.
    """
    options = {} if smaller is None else {'min_height': smaller[0], 'min_width': smaller[1], 'min_factor': 1}
    is_strict = True
    for _ in range(4):
        try:
            array: Array = simplejpeg.decode_jpeg(stream, space, buffer=buffer, strict=is_strict, **options)
        except ValueError as error:
            if is_strict and _is_complete(str(error), stream, is_cut=is_cut):
                if buffer is not None:
                    return buffer
                is_strict = False
            elif 'unknown JFIF revision' in str(error):  # libjpeg knows those of 1 and warns of others
                version = bytes(stream).index(b'JFIF\0') + 5
                stream = b''.join((stream[:version], b'\1', stream[version + 1 :]))
            elif bytes(stream[-2:]) != _END:  # all blocks may be there, and only the end is missing
                stream = bytes(stream) + _END
            else:
                raise
        else:
            return array
    raise ValueError('expected a JPEG stream, found one that cannot be completed')


def _is_complete(said: str, stream: Buffer, *, is_cut: bool) -> bool:
    """Whether libjpeg complains of nothing but bytes behind the blocks: what was cut off, or padding.

    Blocks of a stream that is damaged often end too early, and what is left of it follows, too.
    """
    followed = _FOLLOWED.search(said)
    if followed is None or is_cut:
        return followed is not None
    data = bytes(stream)
    end = _LAST_MARKER.search(data, data.find(_SCAN))
    if end is None:
        return False
    rest = data[max(0, end.start() - int(followed[1])) : end.start()]
    return rest[:1] in _PADS and not rest.strip(rest[:1])


def _start(form: SegmentFormat, colours: str | None) -> bytes | None:
    """Return what a stream lacks: its tables, and a marker that says what its three components are."""
    tables = form.jpeg_tables
    if tables is None and colours is None:
        return None
    body = b''
    if tables is not None:
        end = tables.rfind(_END)  # some writers pad them
        body = tables[2:end] if end >= 0 else tables[2:]
    return b''.join((_FIRST, _ADOBE_MARKERS[colours], body))


def complete(data: Buffer, plan: Plan, cut: int = 0) -> Buffer:
    """Give a stream what it lacks, and another height if one is given."""
    if cut:
        view, at = memoryview(data), plan.head.height_at
        return b''.join((plan.start or _FIRST, view[2:at], cut.to_bytes(2, 'big'), view[at + 2 :]))
    return data if plan.start is None else b''.join((plan.start, memoryview(data)[2:]))
