"""Settings: variables, their reading, and the override for a while."""

import re
import threading
from dataclasses import fields

import pytest

import bipl
from bipl import Slide, settings
from tests.builders.patterns import smooth_image
from tests.builders.tiff import Directory, build_tiff

DATA = build_tiff([Directory(image=smooth_image(64, 64), photometric='rgb', tile=(32, 32))])


@pytest.mark.parametrize(
    ('text', 'expected'),
    [('1000', 1000), ('64MiB', 64 * 2**20), ('2 GiB', 2**31), ('512k', 512 * 1024), ('0', 0)],
)
def test_bytes_take_units(text: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('BIPL_TILE_CACHE', text)
    assert bipl.env.tile_cache == expected


def test_variables_are_read_when_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('BIPL_THREADS', '3')
    assert settings.current().threads == 3
    monkeypatch.setenv('BIPL_THREADS', '5')
    assert settings.current().threads == 5


@pytest.mark.parametrize('name', ['jpeg_parts', 'subpix', 'icc'])
@pytest.mark.parametrize(('text', 'expected'), [('on', True), (' Off', False), ('1', True), ('no', False)])
def test_switches_take_words(name: str, text: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f'BIPL_{name.upper()}', text)
    assert getattr(bipl.env, name) is expected


@pytest.mark.parametrize(
    ('name', 'text', 'words'),
    [
        (
            'BIPL_TILE_CACHE',
            'much',
            "BIPL_TILE_CACHE: expected a whole number, also of KiB, MiB or GiB, found 'much'",
        ),
        ('BIPL_THREADS', '-1', "BIPL_THREADS: expected a whole number, found '-1'"),
        ('BIPL_THREADS', '2MiB', 'BIPL_THREADS: expected a whole number'),
        ('BIPL_CORRUPT_TILES', 'white', "BIPL_CORRUPT_TILES: expected raise or background, found 'white'"),
        ('BIPL_DOWN', 'lanczos', "BIPL_DOWN: expected area or box or gauss, found 'lanczos'"),
        ('BIPL_JPEG_PARTS', 'maybe', "BIPL_JPEG_PARTS: expected on or off, found 'maybe'"),
        ('BIPL_ICC', '2', "BIPL_ICC: expected on or off, found '2'"),
        ('BIPL_REMOTE_TIMEOUT', 'on', "BIPL_REMOTE_TIMEOUT: expected seconds above 0, found 'on'"),
        ('BIPL_REMOTE_TIMEOUT', '-1', "BIPL_REMOTE_TIMEOUT: expected seconds above 0, found '-1'"),
        ('BIPL_CLAHE', 'steep', "BIPL_CLAHE: on, off.*found 'steep'"),
    ],
)
def test_bad_values_name_the_variable(
    name: str, text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ValueError, match=words):
        Slide.open(DATA)


@pytest.mark.parametrize('name', ['tile_cache', 'drivers', 'subpix'])
def test_assigning_is_refused_with_what_to_write(name: str) -> None:
    before = getattr(bipl.env, name)
    with pytest.raises(
        AttributeError, match=rf'setting {name}: .*`with bipl\.env\({name}=5\):`.*BIPL_{name.upper()}'
    ):
        setattr(bipl.env, name, 5)
    assert getattr(bipl.env, name) == before


def test_assigning_an_unknown_setting_names_those_there_are() -> None:
    with pytest.raises(AttributeError, match=r"no setting 'speed'; there are drivers"):
        bipl.env.speed = 5


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ('tiff', ('tiff',)),
        ('tiff, other', ('tiff', 'other')),
        ('', ()),
        (['tiff'], ('tiff',)),
        ({'tiff'}, ('tiff',)),
        ((), ()),
    ],
    ids=str,
)
def test_drivers_are_names_however_they_are_given(given: object, expected: tuple[str, ...]) -> None:
    with bipl.env(drivers=given):
        assert bipl.env.drivers == expected
        hash(settings.current())


@pytest.mark.parametrize('given', [5, None, ('tiff', 5), b'tiff', {'tiff': 1}], ids=str)
def test_drivers_that_are_no_names_are_refused(given: object) -> None:
    with (
        pytest.raises(ValueError, match='setting drivers: expected names of drivers'),
        bipl.env(drivers=given),
    ):
        pass


def test_one_driver_by_name_opens() -> None:
    with bipl.env(drivers='tiff'):
        assert Slide.open(DATA).driver == 'tiff'


def test_the_module_says_every_setting_its_variable_and_default() -> None:
    said = dict(re.findall(r'^`BIPL_(\w+)` +(\S+) ', settings.__doc__ or '', re.MULTILINE))
    assert [name.lower() for name in said] == [field.name for field in fields(settings.Settings)]


def test_override_ends_with_its_block() -> None:
    before = bipl.env.threads
    with bipl.env(threads=7) as inside:
        assert inside.threads == bipl.env.threads == 7
        with bipl.env(cache=1):
            assert (bipl.env.threads, bipl.env.cache) == (7, 1)
    assert bipl.env.threads == before


def test_override_is_this_threads_own() -> None:
    found = []
    with bipl.env(threads=7):
        thread = threading.Thread(target=lambda: found.append(bipl.env.threads))
        thread.start()
        thread.join()
    assert found != [7]


def test_unknown_setting_names_those_there_are() -> None:
    with pytest.raises(TypeError, match='no setting speed; there are drivers'), bipl.env(speed=9):
        pass
    with pytest.raises(AttributeError, match=r'no setting .speed.'):
        _ = bipl.env.speed


def test_tile_cache_budget_is_that_of_the_slide_opened_last() -> None:
    from bipl.cache import process_cache

    with bipl.env(tile_cache=12_345):
        Slide.open(DATA)
    assert process_cache().budget_bytes == 12_345
    Slide.open(DATA)
    assert process_cache().budget_bytes == settings.current().tile_cache


@pytest.mark.parametrize('name', ['cache', 'threads', 'tile_cache', 'remote_timeout', 'remote_retries'])
def test_switches_are_no_numbers(name: str) -> None:
    with pytest.raises(ValueError, match=f'setting {name}: expected .*found True'), bipl.env(**{name: True}):
        pass


@pytest.mark.parametrize('icc', ['off', 1, 'srgb'])
def test_profiles_are_applied_or_not(icc: object) -> None:
    with pytest.raises(TypeError, match='icc: expected True, False or None, found'):
        Slide.open(DATA, icc=icc)  # type: ignore[arg-type]
