"""What bipl says of each real file is what the checked-in table says: see `tests.real_table`."""

import pytest

from tests.peers import NEEDS
from tests.real import needs_slides
from tests.real_table import expected_rows, listed_paths, row_of

pytestmark = needs_slides


@pytest.mark.parametrize('path', listed_paths())
def test_file_is_what_the_table_says(path: str) -> None:
    expected = expected_rows()[path]
    driver = expected[1]
    if NEEDS.get(driver, driver) is None or (driver == 'none' and None in NEEDS.values()):
        pytest.skip(f'what the drivers need is not installed: {driver} is expected to read it')
    assert row_of(path) == expected


def test_table_lists_each_file_once() -> None:
    assert sorted(expected_rows()) == sorted(listed_paths())
