"""Ventana BIF: frames at their places against the builder's picture and OpenSlide, and XML that is wrong."""

import io
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import tifffile

import bipl
from bipl import CorruptSlideError, CorruptTileError, Slide
from bipl.cache import process_cache
from tests.builders.bif import Area, Bif, build_bif, encode_info
from tests.builders.fields import Entry, FieldType
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, build_tiff
from tests.formulas import decibels
from tests.peers import needs_openslide, openslide

APART = (Area(rows=2, columns=3, y=300), Area(rows=3, columns=2, row=2, column=3, x=240, y=40))
OVERLAPPING = (Area(rows=2, columns=3, y=60), Area(rows=3, columns=2, row=0, column=3, x=100, y=16))
WITH_UNSCANNED = (
    Area(rows=2, columns=2, y=100),
    Area(rows=2, columns=2, column=2, x=50, is_scanned=False),
    Area(rows=2, columns=2, row=2, x=56, y=60),
)
UNEQUAL = {
    'to whole pixels': lambda axis, row, column: ((8, 16)[axis] + (1 if (row + column) % 2 else -1), 70),
    'by confidence': lambda axis, row, column: (6 + axis + (row + column) % 3, 10 + 30 * (column % 2)),
    'one wild': lambda _, row, column: (60, 0) if (row, column) == (1, 1) else (8, 99),
    'apart': lambda *_: (-5, 80),
}


def assert_as_built(bif: Bif, downsamples: tuple[int, ...]) -> None:
    with Slide.open(build_bif(bif)) as slide:
        assert slide.vendor == 'ventana'
        assert len(slide.levels) == len(bif.downsamples)
        for level, downsample in zip(slide.levels, bif.downsamples, strict=True):
            assert level.downsample == downsample
            if downsample in downsamples:
                np.testing.assert_array_equal(level.numpy(), bif.expected(downsample))


@pytest.mark.parametrize('is_reversed', [False, True])
@pytest.mark.parametrize('vertical', ['UP', 'DOWN'])
@pytest.mark.parametrize('horizontal', ['RIGHT', 'LEFT'])
def test_frames_lie_where_joints_of_each_direction_put_them(
    horizontal: str, vertical: str, is_reversed: bool
) -> None:
    bif = Bif(horizontal=horizontal, vertical=vertical, is_reversed=is_reversed)
    assert_as_built(bif, (1, 2, 4))


@pytest.mark.parametrize('name', UNEQUAL)
def test_unequal_overlaps_place_by_their_mean(name: str) -> None:
    assert_as_built(Bif(areas=(Area(rows=4, columns=5),), overlap=UNEQUAL[name]), (1,))


@pytest.mark.parametrize('is_reversed', [False, True])
@pytest.mark.parametrize('horizontal', ['RIGHT', 'LEFT'])
def test_rows_and_columns_may_lie_by_their_own_joints(horizontal: str, is_reversed: bool) -> None:
    """As on a VENTANA DP 200: some columns overlap, others do not."""
    scene = smooth_image(400, 500)
    bif = Bif(
        areas=(Area(rows=5, columns=6), Area(rows=3, columns=2, row=1, column=6, x=340, y=30)),
        overlap=lambda axis, row, column: ((2 * row, 24 if column % 3 == 1 else 0)[axis], 100),
        horizontal=horizontal,
        is_reversed=is_reversed,
        scene=scene,
        is_by_joints=True,
        downsamples=(1,),
    )
    data = build_bif(bif)
    with bipl.env(bif_placement='joints'), Slide.open(data) as slide:
        np.testing.assert_array_equal(slide.numpy(), bif.expected())
        np.testing.assert_array_equal(slide[30:210, :330], scene[30:210, :330])
    with Slide.open(data) as slide:
        assert slide.shape != bif.expected().shape


def test_a_gap_of_no_sure_joint_is_as_wide_as_the_others(tmp_path: Path) -> None:
    bif = Bif(overlap=lambda axis, row, column: ((8, 16)[axis], 0 if column == 1 or row == 0 else 90))
    path = tmp_path / 'slide.bif'
    path.write_bytes(build_bif(bif))
    with Slide.open(path) as plain, bipl.env(bif_placement='joints'), Slide.open(path) as slide:
        np.testing.assert_array_equal(slide.numpy(), bif.expected())
        np.testing.assert_array_equal(plain.numpy(), bif.expected())


def test_joints_of_frames_that_are_no_neighbours_count_for_the_mean_alone() -> None:
    xml = encode_info(Bif()).replace(
        'Tile1="1" Tile2="2" OverlapX="16"', 'Tile1="1" Tile2="12" OverlapX="25"'
    )
    with bipl.env(bif_placement='joints'), Slide.open(build_bif(Bif(), xml)) as slide:
        np.testing.assert_array_equal(slide.numpy(), Bif().expected())


def test_a_slide_keeps_the_placement_it_was_opened_under(tmp_path: Path) -> None:
    bif = Bif(overlap=lambda axis, row, column: (8 + 4 * (row + column) * axis, 90), is_by_joints=True)
    path = tmp_path / 'slide.bif'
    path.write_bytes(build_bif(bif))
    with bipl.env(bif_placement='joints'):
        slide = Slide.open(path)
    with Slide.open(path) as other, slide, pickle.loads(pickle.dumps(slide)) as again:  # both at once
        assert (other.pool(2).numpy() != slide.pool(2).numpy()).any()
        np.testing.assert_array_equal(again.pool(2).numpy(), slide.pool(2).numpy())
        np.testing.assert_array_equal(again.numpy(), bif.expected())


@pytest.mark.parametrize('areas', [APART, OVERLAPPING, WITH_UNSCANNED], ids=len)
def test_areas_lie_where_the_xml_puts_them(areas: tuple[Area, ...]) -> None:
    assert_as_built(Bif(areas=areas), (1, 2, 4))


@pytest.mark.parametrize('words', [('true', 'false'), ('True', 'False'), ('1', '0')])
def test_what_was_scanned_is_said_in_words_or_numbers(words: tuple[str, str]) -> None:
    bif = Bif(areas=WITH_UNSCANNED)
    xml = encode_info(bif)
    for number, word in zip('10', words, strict=True):
        xml = xml.replace(f'AOIScanned="{number}"', f'AOIScanned="{word}"')
    with Slide.open(build_bif(bif, xml)) as slide:
        np.testing.assert_array_equal(slide.numpy(), bif.expected())


def test_absent_frames_cover_nothing() -> None:
    assert_as_built(Bif(absent=frozenset({(1, 1), (0, 3), (0, 2), (2, 0)})), (1, 2, 4))


def test_one_row_and_one_column_of_frames() -> None:
    for area in (Area(rows=1), Area(columns=1), Area(rows=1, columns=1)):
        assert_as_built(Bif(areas=(area,)), (1, 2, 4))


def test_without_confidence_each_joint_counts_the_same() -> None:
    def overlap(axis: int, row: int, column: int) -> tuple[float, int]:
        return (8, 16)[axis] + (2 if (row + column) % 2 else -2), 0

    sure = Bif(overlap=lambda *place: (overlap(*place)[0], 1))
    with Slide.open(build_bif(Bif(overlap=overlap))) as slide:
        np.testing.assert_array_equal(slide.numpy(), sure.expected())


@pytest.mark.parametrize('label', ['Label Image', 'Label_Image'])
@pytest.mark.parametrize('in_metadata', [False, True])
def test_no_xml_at_level_0_means_plain_tiles(label: str, in_metadata: bool) -> None:
    bif = Bif(is_joined=False, label=label, in_metadata=in_metadata)
    assert_as_built(bif, (1, 2, 4))
    with Slide.open(build_bif(bif)) as slide:
        assert list(slide.extras) == ['macro', 'thumbnail']


def test_metadata() -> None:
    bif = Bif()
    with Slide.open(build_bif(bif)) as slide:
        assert slide.mpp == 0.2325
        assert slide.background == (235, 235, 235)
        assert slide.properties['openslide.objective-power'] == '40'
        assert slide.properties['ventana.UnitNumber'] == '2000515'
        np.testing.assert_array_equal(slide.extra('macro'), smooth_image(90, 40))
        np.testing.assert_array_equal(slide.extra('thumbnail'), smooth_image(60, 50))
        assert (slide[-2:3, -2:3][:2] == 235).all()
    with Slide.open(build_bif(replace(bif, attributes='Magnification="20"'))) as slide:
        assert slide.mpp is None
        assert slide.background == (255, 255, 255)


@needs_openslide
@pytest.mark.parametrize(
    'bif',
    [
        Bif(),
        Bif(areas=APART),
        Bif(areas=WITH_UNSCANNED),
        Bif(areas=OVERLAPPING),
        Bif(is_joined=False),
        Bif(compression='jpeg', scene=smooth_image(128, 208)),
    ],
    ids=['one area', 'two areas', 'unscanned', 'overlapping', 'plain', 'jpeg'],
)
def test_pixels_and_properties_are_openslides(bif: Bif, tmp_path: Path) -> None:
    path = tmp_path / 'slide.bif'
    path.write_bytes(build_bif(bif))
    with Slide.open(path) as slide, openslide.OpenSlide(path) as peer:
        assert (slide.driver, peer.properties['openslide.vendor']) == ('tiff', 'ventana')
        assert [level.shape[1::-1] for level in slide.levels] == list(peer.level_dimensions)
        for i, level in enumerate(slide.levels):
            pixels = np.asarray(peer.read_region((0, 0), i, peer.level_dimensions[i]))
            is_there = pixels[:, :, 3] == 255
            np.testing.assert_array_equal(level.numpy()[is_there], pixels[is_there][:, :3])
            assert set(np.unique(pixels[:, :, 3])) <= {0, 255}
            assert (level.numpy()[~is_there] == 235).all()
        assert dict(slide.properties) == dict(peer.properties)
        assert set(slide.extras) == set(peer.associated_images)
        for name, picture in peer.associated_images.items():
            np.testing.assert_array_equal(slide.extra(name), np.asarray(picture)[:, :, :3])


@needs_openslide
def test_the_openslide_driver_lays_what_is_transparent_on_the_background(tmp_path: Path) -> None:
    path = tmp_path / 'slide.bif'
    path.write_bytes(build_bif(Bif(areas=APART)))
    for fill in (7, (10, 200, 30)):
        with Slide.open(path, fill=fill) as native, Slide.open(path, driver='openslide', fill=fill) as slide:
            assert slide.driver == 'openslide'
            assert (slide.numpy()[0, -1] == fill).all()
            for level, other in zip(native.levels, slide.levels, strict=True):
                np.testing.assert_array_equal(level.numpy(), other.numpy())


def test_levels_show_the_same_place() -> None:
    """Advances are no whole number of pixels, least of all when halved: places are rounded, not lost."""
    scene = smooth_image(520, 944)
    bif = Bif(
        areas=(Area(rows=6, columns=8),),
        frame=(96, 128),
        overlap=lambda _, row, column: (11 + column % 3, 50 + column + row),
        scene=scene,
    )
    with Slide.open(build_bif(bif)) as slide:
        height, width = slide.shape[:2]
        np.testing.assert_array_equal(slide.numpy(), scene[:height, :width])
        for level, downsample in zip(slide.levels, bif.downsamples, strict=True):
            blocks = scene.reshape(520 // downsample, downsample, 944 // downsample, downsample, 3)
            expected = blocks.mean(axis=(1, 3))
            rows, columns = level.shape[0] - 2, level.shape[1] - 2
            assert decibels(level[:rows, :columns], expected[:rows, :columns]) > 45


def test_octaves_are_made_of_frames_at_their_places() -> None:
    bif = Bif(downsamples=(1,))
    with Slide.open(build_bif(bif)) as slide:
        full = slide.numpy().astype(float)
        expected = full.reshape(64, 2, 104, 2, 3).mean(axis=(1, 3))
        assert np.abs(slide.pool(2).numpy() - expected).max() <= 0.5


@pytest.mark.parametrize('budget', [2**26, 0])
def test_a_read_decodes_each_stored_tile_once(budget: int) -> None:
    with bipl.env(tile_cache=budget), Slide.open(build_bif(Bif(compression='lzw'))) as slide:
        for level, tiles in zip(slide.levels, (12, 4, 1), strict=True):
            process_cache().clear()
            level.numpy()
            assert process_cache().statistics().misses == tiles


def test_a_corrupt_frame_is_named_and_alone() -> None:
    data = bytearray(build_bif(Bif(compression='lzw')))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        offset, size = (table[5] for table in (tiff.pages[2].dataoffsets, tiff.pages[2].databytecounts))
    data[offset : offset + size] = b'\xff' * size
    with Slide.open(bytes(data)) as slide:
        with pytest.raises(CorruptTileError, match=r'level 0 \(IFD 2\).*row 1, column 1'):
            slide.numpy()
        np.testing.assert_array_equal(slide[:40, :50], Bif().expected()[:40, :50])
    with bipl.env(corrupt_tiles='background'), Slide.open(bytes(data)) as slide:
        assert (slide[50:70, 60:80] == 235).all()


MISTAKES = {
    'direction': ('Direction="RIGHT"', 'Direction="AWAY"', 'expected one of UP, DOWN, LEFT, RIGHT'),
    'tile number': ('Tile1="1"', 'Tile1="13"', 'expected the number of a tile, 1 to 12, found 13'),
    'no tile number': ('Tile2="2"', '', 'Tile2: expected a number, found None'),
    'no number': ('OverlapX="16"', 'OverlapX="many"', "OverlapX: expected a number, found 'many'"),
    'confidence': ('Confidence="98"', 'Confidence="-1"', 'Confidence: expected a number from 0'),
    'frame size': ('Width="64"', 'Width="65"', 'expected frames of the size of tiles, 48 x 64'),
    'no frame size': ('Width="64"', 'Width="0"', 'expected frames of the size of tiles'),
    'origin': ('OriginX="0"', 'OriginX="10"', 'expected whole tiles'),
    'area outside': ('OriginX="0"', 'OriginX="64"', 'expected whole tiles among 3 x 4, found 3 x 4 from'),
    'no rows': ('NumRows="3"', 'NumRows="0"', 'expected whole tiles'),
    'place': ('Pos-X="0"', 'Pos-X="1e12"', 'expected a place on the slide'),
    'infinite': ('Pos-Y="0"', 'Pos-Y="inf"', 'Pos-Y: expected a number'),
    'overlap': ('OverlapX="16"', 'OverlapX="49"', 'expected overlaps of up to 48 pixels, found 49'),
    'gap': ('OverlapX="16"', 'OverlapX="-65"', 'expected overlaps'),
    'unscanned': ('AOIScanned="1"', 'AOIScanned="0"', 'expected an area that was scanned'),
    'no origin': ('<AOI0 OriginX="0" OriginY="0"/>', '', 'found 1 areas and 0 origins'),
    'no areas': ('ImageInfo', 'Other', 'found 0 areas and 1 origins'),
    'unclosed': ('</EncodeInfo>', '', 'expected XML, found no element'),
    'document type': ('<EncodeInfo', '<!DOCTYPE a [<!ENTITY b "c">]><EncodeInfo', 'a document type'),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_xml_that_is_wrong_is_an_error(name: str) -> None:
    right, wrong, message = MISTAKES[name]
    xml = encode_info(Bif())
    assert right in xml
    with pytest.raises(CorruptSlideError, match=rf'IFD 2: XMP: .*{message}'):
        Slide.open(build_bif(Bif(), xml.replace(right, wrong)))


def test_a_tile_of_two_areas_is_an_error() -> None:
    bif = Bif(areas=(Area(rows=2, columns=3), Area(rows=2, columns=2, row=1, column=2)))
    with pytest.raises(CorruptSlideError, match='found row 1, column 2 in two'):
        Slide.open(build_bif(bif))


def test_many_areas_are_an_error() -> None:
    xml = f'<EncodeInfo><SlideStitchInfo>{"<ImageInfo/>" * 300}</SlideStitchInfo></EncodeInfo>'
    with pytest.raises(CorruptSlideError, match='up to 256 areas'):
        Slide.open(build_bif(Bif(), xml))


def test_an_entity_is_not_expanded() -> None:
    grown = ''.join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 20))
    xml = f'<!DOCTYPE x [<!ENTITY a0 {quoteattr("lol")}>{grown}]><EncodeInfo>&a19;</EncodeInfo>'
    for text in (xml, xml.encode('utf-16').decode('latin-1')):
        with pytest.raises(CorruptSlideError, match='expected XML'):
            Slide.open(build_bif(Bif(), text))


def test_levels_that_do_not_fit_are_left_out() -> None:
    data = build_bif(Bif()).replace(b'level=1 mag=20 quality=90', b'level=1 mag=29 quality=90')
    with Slide.open(data) as slide:
        assert slide.downsamples == (1, 4)
        np.testing.assert_array_equal(slide.levels[1].numpy(), Bif().expected(4))


def test_without_levels_it_is_any_tiff() -> None:
    data = build_bif(Bif()).replace(b'level=', b'layer=')
    with Slide.open(data) as slide:
        assert slide.vendor == 'generic-tiff'


def test_downsamples_are_what_the_magnifications_say() -> None:
    """At a level of few pixels several whole numbers explain its size."""
    scene = np.kron(noise_image(60, 60, 3), np.ones((32, 32, 1), np.uint8))
    bif = Bif(
        areas=(Area(rows=20, columns=20),),
        frame=(64, 64),
        overlap=lambda *_: (16, 98),
        downsamples=(1, 2, 4, 8, 16, 32),
        scene=scene,
    )
    with Slide.open(build_bif(bif)) as slide:
        assert slide.downsamples == (1, 2, 4, 8, 16, 32)
        np.testing.assert_array_equal(slide.pool(32).numpy(), slide.levels[5].numpy())


def test_many_frames_on_one_pixel_are_an_error() -> None:
    bif = Bif(areas=(Area(rows=40, columns=40),), overlap=lambda axis, *_: ((47, 63)[axis], 98))
    with pytest.raises(CorruptSlideError, match='expected overlaps of up to'):
        Slide.open(build_bif(replace(bif, downsamples=(1,))))


def test_long_namespaces_take_no_memory() -> None:
    elements = ''.join(f'<p:z{i:x}/>' for i in range(20_000))
    xml = f'<EncodeInfo xmlns:p="{"u" * 200_000}">{elements}</EncodeInfo>'
    data = build_bif(Bif(), xml)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptSlideError, match='expected an area'):
            Slide.open(data)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    'description', ['level=1 mag=1e-320 q=90__', 'level=1 mag=1e308 qual=90', 'level=1 mag=nan quality=9']
)
def test_magnifications_that_are_none_are_no_levels(description: str) -> None:
    data = build_bif(Bif()).replace(b'level=1 mag=20 quality=90', description.encode().ljust(25))
    with Slide.open(data) as slide:
        assert slide.downsamples == (1, 4)


def test_a_level_number_may_be_too_long() -> None:
    levels = [
        Directory(
            image=noise_image(96, 64, 3), tile=(48, 64), photometric='rgb', description=text, extra_tags=tags
        )
        for text, tags in (
            ('level=0 mag=40', {700: Entry(FieldType.BYTE, tuple(b'<iScan ScanRes="0.5"/>'))}),
            (f'level={"1" * 5000} mag=20', {}),
        )
    ]
    with Slide.open(build_tiff(levels)) as slide:
        assert (slide.vendor, slide.downsamples) == ('ventana', (1,))


def test_sums_of_joints_add_no_row() -> None:
    bif = Bif(
        areas=(Area(rows=11, columns=10),),
        downsamples=(1,),
        overlap=lambda axis, _, column: ((8 - (column == 0), 16)[axis], 100),
    )
    with bipl.env(bif_placement='joints'), Slide.open(build_bif(bif)) as slide:
        assert slide.shape[:2] == (449, 496)


@needs_openslide
def test_a_frame_that_the_image_cuts_off_covers_what_there_is_of_it(tmp_path: Path) -> None:
    path = tmp_path / 'slide.bif'
    data = bytearray(build_bif(Bif(downsamples=(1,))))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        tags = tiff.pages[2].tags
        for name, value in (('ImageLength', 3 * 48 - 47), ('ImageWidth', 4 * 64 - 63)):
            place = tags[name].valueoffset
            data[place : place + 4] = value.to_bytes(4, 'little')
    path.write_bytes(data)
    with Slide.open(path) as slide, openslide.OpenSlide(path) as peer:
        pixels = np.asarray(peer.read_region((0, 0), 0, peer.dimensions))
        is_there = pixels[:, :, 3] == 255
        np.testing.assert_array_equal(slide.numpy()[is_there], pixels[is_there][:, :3])
        assert (slide.numpy()[~is_there] == 235).all()
