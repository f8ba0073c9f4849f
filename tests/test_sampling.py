import pytest

from tf_deepdeblur.sampling import evenly_spaced


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [(10, 5, [0, 2, 4, 6, 8]), (10, 3, [0, 3, 6]), (3, 3, [0, 1, 2]), (3, 9, [0, 1, 2]), (0, 4, []), (4, 0, [])],
)
def test_items_are_spread_evenly_from_the_first_on(count, limit, expected):
    assert evenly_spaced(range(count), limit) == expected
