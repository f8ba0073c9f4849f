"""The page is made of the rows: nothing else changes, failures are told."""

import json

import page
import pytest
import results

ROW = {
    "what": "inference",
    "case": "48x32",
    "precision": "float32",
    "calls": 3,
    "peak_gib": 1.0,
    "psnr": None,
    "cpu_seconds": 4.0,
}
ROWS = [
    {"what": "convolution", "case": "1", "name": "tf.nn.conv2d", "precision": "float32", "seconds": 1.0, "ratio": 1.0}
    | {"gflop_per_second": 400.0, "peak_gib": 1.0},
    ROW | {"name": "tf_deepdeblur", "seconds": 2.0, "ratio": 1.0, "gflop_per_second": 300.0, "max_difference": 0},
    ROW | {"name": "PyTorch", "seconds": 3.0, "ratio": 1.5, "gflop_per_second": 200.0, "max_difference": 1},
    {"what": "inference", "case": "48x32", "name": "OpenVINO", "precision": "float32", "failed": "not installed"},
]


@pytest.fixture
def recorded(tmp_path):
    recorded = results.Results(tmp_path)
    for row in ROWS:
        recorded.add(row)
    return recorded


def test_rows_are_kept_and_replaced(recorded, tmp_path):
    recorded.add({**ROWS[1], "seconds": 9.0})
    again = results.Results(tmp_path)
    assert [row["name"] for row in again.rows] == ["tf.nn.conv2d", "PyTorch", "OpenVINO", "tf_deepdeblur"]
    assert again.rows[-1]["seconds"] == 9.0
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["machine"] == again.machine


def test_the_page_shows_shares_ratios_and_failures(recorded, tmp_path):
    text = tmp_path / "page.md"
    text.write_text("# Before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nAfter\n")
    page.write_page(recorded.content, text, plot=None)
    lines = text.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("# Before", "After")
    assert "old" not in lines
    ours, peer, failed = (
        next(line for line in lines if name in line) for name in ("tf_deepdeblur", "| PyTorch", "OpenV")
    )
    assert "| 2 | 4 | 1.00 | 300 | 75 % | 1.00 | 0 grey levels |" in ours
    assert "| 3 | 4 | 1.50 | 200 | 50 % | 1.00 | 1 grey levels |" in peer
    assert "not installed" in failed


def test_the_plot_is_drawn(recorded, tmp_path):
    pytest.importorskip("matplotlib")
    text = tmp_path / "page.md"
    text.write_text("<!-- measured: begin --><!-- measured: end -->")
    page.write_page(recorded.content, text, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    assert "(images/plot.png)" in text.read_text()


def test_the_machine_is_described():
    machine = results.describe_machine()
    assert machine["cores"] >= 1
    assert machine["name"].replace("-", "").isalnum()
