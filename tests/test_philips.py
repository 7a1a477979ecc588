"""Philips TIFF against its builder and OpenSlide: padded levels, pictures in XML, XML that is wrong."""

import base64
import pickle
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from bipl import CorruptSlideError, Slide, write
from tests.builders.fields import Entry, FieldType
from tests.builders.patterns import smooth_image
from tests.builders.tiff import Directory, build_tiff
from tests.peers import needs_openslide, openslide

TILE = 64
FULL = smooth_image(14 * TILE, 13 * TILE)
LABEL = smooth_image(40, 30)
SOFTWARE_TAG = 305
LEVELS_NAME, SCANS_NAME = 'PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE', 'PIM_DP_SCANNED_IMAGES'
SOFTWARE = {SOFTWARE_TAG: Entry(FieldType.ASCII, b'Philips DP v1.0\0', count=16)}


def padded(image: np.ndarray) -> np.ndarray:
    """Return an image with white up to whole tiles."""
    rows, columns = (-(-size // TILE) * TILE for size in image.shape[:2])
    out = np.full((rows, columns, 3), 255, np.uint8)
    out[: image.shape[0], : image.shape[1]] = image
    return out


LEVELS = [FULL[:: 2**i, :: 2**i][: len(FULL) >> i, : FULL.shape[1] >> i] for i in range(4)]


def attribute(name: str, value: str, kind: str = 'IString') -> str:
    return f'<Attribute Name="{name}" Group="0x301D" Element="0x1003" PMSVR="{kind}">{value}</Attribute>'


def array(name: str, *objects: str) -> str:
    kind = {LEVELS_NAME: 'PixelDataRepresentation', SCANS_NAME: 'DPScannedImage'}.get(name, 'Any')
    inside = ''.join(f'<DataObject ObjectType="{kind}">{each}</DataObject>' for each in objects)
    return attribute(name, f'<Array>{inside}</Array>', 'IDataObjectArray')


def spacing(downsample: float) -> str:
    text = f'&quot;{0.00025 * downsample:g}&quot; &quot;{0.00024 * downsample:g}&quot;'
    return attribute('DICOM_PIXEL_SPACING', text, 'IDoubleArray')


def picture(kind: str, data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return attribute('PIM_DP_IMAGE_TYPE', kind) + attribute('PIM_DP_IMAGE_DATA', text)


LABEL_IN_XML = picture('LABELIMAGE', imagecodecs.jpeg_encode(LABEL, level=95))


def described(*others: str, downsamples: tuple[float, ...] = (1, 2, 4, 8)) -> str:
    """Return the XML of a slide, and of pictures beside it."""
    levels = [attribute('PIIM_PIXEL_DATA_REPRESENTATION_NUMBER', str(i)) for i in range(len(downsamples))]
    sequence = [number + spacing(step) for number, step in zip(levels, downsamples, strict=True)]
    whole = array(LEVELS_NAME, *sequence)
    nested = array('OUTER', attribute('A', 'x') + array('INNER', attribute('B', 'y'), attribute('B', ' z ')))
    main = attribute('PIM_DP_IMAGE_TYPE', 'WSI') + spacing(1) + whole + nested
    inside = (
        attribute('DICOM_MANUFACTURER', 'PHILIPS')
        + attribute('EMPTY', '')
        + nested
        + array(SCANS_NAME, main, *others)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">{inside}</DataObject>'
    )


def built(xml: str, *others: Directory) -> bytes:
    first = Directory(image=FULL, tile=(TILE, TILE), photometric='rgb', description=xml, extra_tags=SOFTWARE)
    coarser = (
        Directory(image=padded(level), tile=(TILE, TILE), photometric='rgb', subfile_type=1)
        for level in LEVELS[1:]
    )
    return build_tiff([first, *coarser, *others])


def test_levels_are_what_the_sizes_of_pixels_say_and_end_before_their_padding() -> None:
    with Slide.open(built(described())) as slide:
        assert slide.vendor == 'philips'
        assert slide.downsamples == (1, 2, 4, 8)
        assert slide.mpp == (pytest.approx(0.25), pytest.approx(0.24))
        for level, expected in zip(slide.levels, LEVELS, strict=True):
            np.testing.assert_array_equal(level.numpy(), expected)
            height, width = level.shape[:2]
            outside = level[height - 5 : height + 5, width - 5 : width + 5]
            np.testing.assert_array_equal(outside[:5, :5], expected[-5:, -5:])
            assert (outside[5:] == 255).all()


@needs_openslide
@pytest.mark.parametrize('is_directory', [False, True])
def test_pixels_and_properties_are_openslides(is_directory: bool, tmp_path: Path) -> None:
    path = tmp_path / 'a.tiff'
    stored = Directory(image=LABEL, photometric='rgb', description='Label')
    path.write_bytes(built(described(), stored) if is_directory else built(described(LABEL_IN_XML)))
    with Slide.open(path) as slide, openslide.OpenSlide(path) as judge:
        assert slide.driver == 'tiff'
        assert dict(slide.properties) == dict(judge.properties)
        for i, size in enumerate(judge.level_dimensions):
            region = judge.read_region((0, 0), i, size).convert('RGB')
            np.testing.assert_array_equal(slide.levels[i].numpy(), np.asarray(region))
        assert set(slide.extras) == set(judge.associated_images) == {'label'}
        label = judge.associated_images['label'].convert('RGB')
        np.testing.assert_array_equal(slide.extra('label'), np.asarray(label))


def test_pictures_in_the_xml_outlast_pickling(tmp_path: Path) -> None:
    path = tmp_path / 'a.tiff'
    path.write_bytes(built(described(LABEL_IN_XML)))
    with Slide.open(path) as slide, pickle.loads(pickle.dumps(slide)) as again:
        np.testing.assert_array_equal(again.extra('label'), slide.extra('label'))


@pytest.mark.parametrize('software', [b'Philips\0', b'other\0'])
def test_without_the_xml_or_the_name_it_is_any_tiff(software: bytes) -> None:
    tags = {SOFTWARE_TAG: Entry(FieldType.ASCII, software, count=len(software))}
    text = 'a text' if software[:1] == b'P' else described()
    first = Directory(image=FULL, tile=(TILE, TILE), photometric='rgb', description=text, extra_tags=tags)
    with Slide.open(build_tiff([first])) as slide:
        assert slide.vendor == 'generic-tiff'
        np.testing.assert_array_equal(slide.numpy(), FULL)


@pytest.mark.parametrize(
    ('xml', 'match'),
    [
        (described()[:-20], 'IFD 0: ImageDescription: expected XML'),
        (described(downsamples=(1, 2, 4)), 'expected DICOM_PIXEL_SPACING of 4 levels'),
        (described(downsamples=(1, 2, 2, 8)), 'IFD 2: expected a level coarser than 1/2'),
        (described().replace('0.0005', '-1'), 'expected DICOM_PIXEL_SPACING of 4 levels'),
        (described().replace('0.0005', '1e300'), 'expected DICOM_PIXEL_SPACING of 4 levels'),
        (described().replace('WSI', 'MACROIMAGE'), 'expected a scanned image of type WSI'),
    ],
)
def test_xml_that_is_wrong_is_an_error(xml: str, match: str) -> None:
    with pytest.raises(CorruptSlideError, match=match):
        Slide.open(built(xml))


@pytest.mark.parametrize('data', [b'nothing', b'\xff\xd8\xff', imagecodecs.jpeg_encode(LABEL)[:400]])
def test_a_broken_label_is_named_and_alone(data: bytes) -> None:
    with Slide.open(built(described(picture('LABELIMAGE', data)))) as slide:
        np.testing.assert_array_equal(slide.numpy(), FULL)
        with pytest.raises(CorruptSlideError, match='label: expected a'):
            slide.extra('label')


def test_a_copy_has_the_levels_without_their_padding(tmp_path: Path) -> None:
    file = tmp_path / 'a.tif'
    with Slide.open(built(described())) as slide:
        write(file, slide)
    with Slide.open(file) as copy:
        assert [level.shape for level in copy.levels] == [level.shape for level in LEVELS]
        for level, expected in zip(copy.levels, LEVELS, strict=True):
            np.testing.assert_array_equal(level.numpy(), expected)
