"""Parts of JPEG tiles: decoded without the rest, straight into the array of a box where that can be."""

from bipl.codecs import turbojpeg
from bipl.codecs.jpeg import complete, plan_of
from bipl.codecs.segment import Array, Buffer, SegmentFormat

_KNOWN_SAMPLES = frozenset((1, 3))


def decode_part(  # noqa: PLR0917 - as decoders in the table are called
    data: Buffer,
    form: SegmentFormat,
    shape: tuple[int, int],
    out: Array,
    corner: tuple[int, int],
    memory: Array,
) -> bool:
    """Decode what lies at a corner (y, x) of a stream of 8 bits, and say whether that could be.

    Where chroma is stored at a lower resolution, a block more is decoded on each side: what it is made of
    at the border.  Pixels are those of the whole stream, to the last bit.

    Parameters
    ----------
    shape
        Of the whole, as the directory has it.
    out
        (h, w, samples) uint8, of the part; it holds anything if it could not be.
    memory
        To work in, of the whole's shape.
    """
    library = turbojpeg.load()
    plan = plan_of(data, form, shape)
    head = plan.head
    is_known = plan.is_expected and form.samples in _KNOWN_SAMPLES and plan.space in {'GRAY', 'RGB'}
    if library is None or not (is_known and plan.row_height and head.column_width):
        return False
    height, width = out.shape[:2]
    y, x = corner
    more = int(head.is_subsampled)
    top, bottom = max(y - more * plan.row_height, 0), min(y + height + more * plan.row_height, head.height)
    left = max(x // head.column_width - more, 0) * head.column_width
    right = min(x + width + more * head.column_width, head.width)
    part = turbojpeg.Part(top, left, bottom - top, right - left)
    is_all = part == (y, x, height, width)
    target = out if is_all else memory[: part.height, : part.width]
    stream = complete(data, plan)
    if not library.decode(stream if isinstance(stream, bytes) else bytes(stream), part, target):
        return False
    if not is_all:
        out[...] = target[y - top : y - top + height, x - left : x - left + width]
    return True
