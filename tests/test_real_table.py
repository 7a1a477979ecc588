"""What bipl says of each real file is what the checked-in table says: see `tests.real_table`."""

import pytest

from tests.real import needs_slides
from tests.real_table import expected_rows, listed_paths, row_of

pytestmark = needs_slides


@pytest.mark.parametrize('path', listed_paths())
def test_file_is_what_the_table_says(path: str) -> None:
    assert row_of(path) == expected_rows()[path]


def test_table_lists_each_file_once() -> None:
    assert sorted(expected_rows()) == sorted(listed_paths())
