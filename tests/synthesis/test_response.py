import numpy as np
import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.synthesis.response import gamma_response, linear_response, linearise, table_response

LEVELS = np.arange(256)


def write_table(path, columns, header="level,signal\n"):
    path.write_text(header + "".join(",".join(map(str, row)) + "\n" for row in zip(*columns, strict=True)))
    return path


@pytest.mark.parametrize("response", [gamma_response(), gamma_response(1.8), linear_response()])
def test_every_level_survives_the_way_there_and_back(response):
    image = np.repeat(LEVELS[:, None, None], 3, axis=2).astype(np.uint8)
    np.testing.assert_array_equal(response.observe(response.signals[image[..., 0]] * np.ones(3)), image)


def test_a_table_of_the_gamma_curve_is_the_gamma_curve(tmp_path):
    """Between two levels the table is straight and the curve is not: only values next to a threshold may differ."""
    response = table_response(write_table(tmp_path / "c.csv", (LEVELS, linearise(LEVELS))))
    np.testing.assert_allclose(response.signals, gamma_response().signals, atol=1e-12)
    signal = np.random.default_rng(0).random((40, 50, 3))
    ours, exact = response.observe(signal).astype(int), gamma_response().observe(signal).astype(int)
    assert np.abs(ours - exact).max() <= 1
    assert (ours == exact).mean() > 0.99


def test_channels_have_curves_of_their_own(tmp_path):
    curves = [linearise(LEVELS, gamma) * scale for gamma, scale in ((2.2, 1), (1.0, 7), (1.5, 0.1))]
    response = table_response(write_table(tmp_path / "c.csv", (LEVELS, *curves)))
    image = np.stack([LEVELS] * 3, axis=-1)[None].astype(np.uint8)
    signal = np.stack([response.signals[LEVELS, channel] for channel in range(3)], axis=-1)[None]
    np.testing.assert_allclose(signal[0, :, 1], LEVELS / 255)
    np.testing.assert_array_equal(response.observe(signal), image)


def test_a_few_points_are_joined_by_straight_lines(tmp_path):
    response = table_response(write_table(tmp_path / "c.csv", ((0, 100, 255), (0, 2, 4)), header=""))
    assert response.signals[50, 0] == pytest.approx(0.25)
    assert response.signals[255, 0] == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not go from level 0"),
        ("level,signal\n", "does not go from level 0"),
        ("0,0\n200,1\n", "does not go from level 0"),
        ("0,0\n100,5\n255,3\n", "'255,3'.*must rise"),
        ("0,-1\n255,3\n", "'0,-1'.*must rise"),
        ("0,0\n255,nan\n", "'255,nan' does not fit"),
        ("0,0\n9,inf\n255,8\n", "'9,inf' does not fit"),
        ("0,0\nhalf,3\n255,4\n", "'half,3' does not fit"),
        ("0,0,1\n255,1,2\n", "'0,0,1' does not fit"),
        ("0,0\n255,1,2,3\n", "'255,1,2,3' does not fit"),
    ],
)
def test_a_table_that_is_no_curve_names_the_row(tmp_path, text, reason):
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=reason) as raised:
        table_response(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"c\.csv: cannot be read"):
        table_response(tmp_path / "c.csv")
