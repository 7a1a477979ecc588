"""Dispatch: other people's drivers, the setting, insisting, and what is said when none fits."""

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Thread, get_ident
from time import sleep
from typing import Any, ClassVar

import numpy as np
import pytest

import bipl
from bipl import Driver, Slide, UnsupportedSlideError
from bipl.drivers import base, registry
from bipl.drivers.tiff import TiffDriver
from tests.builders.patterns import smooth_image
from tests.builders.svs import build_svs
from tests.processes import in_child

DOCS = Path(__file__).parent.parent / 'docs'


@pytest.fixture(autouse=True)
def _registrations_as_before() -> Iterator[None]:
    before = list(base.REGISTERED)
    yield
    base.REGISTERED[:] = before
    look_again()


@pytest.fixture
def svs(tmp_path: Path) -> Path:
    path = tmp_path / 'slide.svs'
    path.write_bytes(build_svs(smooth_image(100, 100), downsamples=(1,)))
    return path


def look_again() -> None:
    """Forget which drivers other packages have."""
    registry._plugged_in.cache_clear()
    registry._is_named_by_others.cache_clear()


def refusing(name: str) -> type[Driver]:
    def refuse(_self: Driver, source: object, *_options: object) -> None:
        raise UnsupportedSlideError(f'{source}: not for {name}')

    return type(name, (Driver,), {'name': name, '__init__': refuse, 'close': lambda _: None})


class Renamed(TiffDriver):
    name = 'renamed'
    regex = r'.*\.svs'


def test_last_registered_driver_is_asked_first(svs: Path) -> None:
    Renamed.register(r'.*\.svs')
    assert Slide.open(svs).driver == 'renamed'
    type('Last', (TiffDriver,), {'name': 'last'}).register(r'.*/slide\.SVS')
    assert Slide.open(svs).driver == 'last'


def test_driver_for_other_paths_is_asked_later(svs: Path) -> None:
    Renamed.register(r'.*\.other')
    assert Slide.open(svs).driver == 'tiff'


def test_driver_that_refuses_passes_the_file_on(svs: Path) -> None:
    refusing('choosy').register(r'.*\.svs')
    assert Slide.open(svs).driver == 'tiff'


def test_extension_that_lies_is_settled_by_content(svs: Path) -> None:
    other = svs.rename(svs.with_suffix('.jpeg'))
    assert Slide.open(other).driver == 'tiff'


def test_none_that_reads_it_lists_what_each_said(tmp_path: Path) -> None:
    path = tmp_path / 'notes.svs'
    path.write_text('no slide')
    refusing('choosy').register(r'.*\.svs')
    with pytest.raises(UnsupportedSlideError) as caught:
        Slide.open(path)
    assert 'choosy: ' in str(caught.value)
    assert 'not for choosy' in str(caught.value)
    assert re.search("tiff: .*expected a TIFF, which begins with 'II' or 'MM'", str(caught.value))


def test_insisting_on_a_driver_asks_no_other(svs: Path) -> None:
    refusing('choosy').register(r'.*\.nothing')
    with pytest.raises(UnsupportedSlideError, match=r'not for choosy$'):
        Slide.open(svs, driver='choosy')


def test_unknown_driver_names_those_there_are(svs: Path) -> None:
    with pytest.raises(
        UnsupportedSlideError, match="expected one of gdal, openslide, raster, tiff, found 'czifile'"
    ):
        Slide.open(svs, driver='czifile')


def test_setting_limits_the_drivers(svs: Path) -> None:
    Renamed.register(r'.*\.svs')
    with bipl.env(drivers=('tiff',)):
        assert Slide.open(svs).driver == 'tiff'
    with bipl.env(drivers=('nothing',)), pytest.raises(UnsupportedSlideError, match=r'BIPL_DRIVERS.*nothing'):
        Slide.open(svs)


def test_broken_file_is_not_passed_on(tmp_path: Path) -> None:
    path = tmp_path / 'broken.tif'
    path.write_bytes(b'II*\0\xff\xff\xff\xff')
    refusing('choosy').register(r'.*')
    with pytest.raises(bipl.CorruptSlideError, match='IFD 0'):
        Slide.open(path)


def test_entry_points_are_registered_when_a_slide_is_opened(
    svs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'plugged.py').write_text(
        'from bipl.drivers.tiff import TiffDriver\n\n\n'
        'class Renamed(TiffDriver):\n    name = "renamed"\n    regex = r".*\\.svs"\n'
    )
    (tmp_path / 'plugged-1.0.dist-info').mkdir()
    (tmp_path / 'plugged-1.0.dist-info' / 'METADATA').write_text('Name: plugged\nVersion: 1.0\n')
    points = f'[{registry.ENTRY_POINTS}]\nrenamed = plugged:Renamed\n'
    (tmp_path / 'plugged-1.0.dist-info' / 'entry_points.txt').write_text(points)
    look_again()
    assert Slide.open(svs).driver == 'tiff'
    look_again()
    monkeypatch.syspath_prepend(tmp_path)
    assert Slide.open(svs).driver == 'renamed'


def test_driver_without_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match='expected a Driver with a name'):
        type('Nameless', (TiffDriver,), {'name': ''}).register('.*')


def test_example_of_the_docs_works(tmp_path: Path) -> None:
    code = re.search(r'```python\n(.*?)```', (DOCS / 'drivers.md').read_text(encoding='utf-8'), re.DOTALL)
    exec(code[1], {'__name__': 'docs'})
    path = tmp_path / 'picture.gradient'
    path.touch()
    with Slide.open(path) as slide:
        rows, columns = np.mgrid[500:600, 9990:10010]
        expected = np.where(columns < 10_000, (rows + columns) // 80, 0).astype(np.uint8)
        np.testing.assert_array_equal(slide[500:600, 9990:10010][:, :, 0], expected)


class Slow(TiffDriver):
    """Counts who opens a file, and takes its time."""

    name = 'slow'
    begun: ClassVar[list[int]] = []
    fails = 0

    def __init__(self, *arguments: Any) -> None:
        self.begun.append(get_ident())
        sleep(0.1)
        if len(self.begun) <= self.fails:
            raise OSError('the cable was pulled')
        super().__init__(*arguments)


def opened_by_threads(path: Path, monkeypatch: pytest.MonkeyPatch, fails: int = 0) -> list[Slide | None]:
    """Open a file in four threads at once."""
    monkeypatch.setattr(Slow, 'begun', [])
    monkeypatch.setattr(Slow, 'fails', fails)
    Slow.register(r'.*\.svs')
    together = Barrier(4)

    def opened(_: int) -> Slide | None:
        together.wait()
        with suppress(OSError):
            return Slide.open(path)
        return None

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(opened, range(4)))


def test_of_threads_that_open_one_file_one_reads_it(svs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slides = opened_by_threads(svs, monkeypatch)
    assert len(Slow.begun) == 1
    for slide in slides:
        assert slide is not None
        slide.close()


def test_who_waited_for_an_opening_that_failed_tries_itself(
    svs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slides = opened_by_threads(svs, monkeypatch, fails=2)
    assert len(Slow.begun) == 3
    assert sum(slide is None for slide in slides) == 2


def test_of_threads_that_open_the_first_slides_one_looks_for_drivers(
    svs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    monkeypatch.setattr(registry, '_may_name_drivers', lambda folder: bool(looked.append(folder)))
    look_again()
    opened_by_threads(svs, monkeypatch)
    assert looked == sys.path


def test_a_child_forked_while_another_thread_opens_a_file_opens_it(
    svs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, 'begun', [])
    Slow.register(r'.*\.svs')
    other = Thread(target=Slide.open, args=(svs,))
    other.start()
    while not Slow.begun:
        sleep(0.001)
    shape = in_child(lambda: Slide.open(svs).shape)
    other.join()
    assert shape == (100, 100, 3)
