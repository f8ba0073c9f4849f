"""The files of a repository on the hub."""

import hashlib
import json
import re

import numpy as np
import pytest

from tests.export.conftest import random_generator
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export.publish import FILES, publish
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.images import read_image, write_image
from tf_deepdeblur.models.saving import save_generator

TRAINING = {
    "flags": {"dataset": "gopro", "blur_key": "blur", "patch_size": "256"},
    "held_out": {"step": 1000, "psnr": 29.084, "ssim": 0.91234},
    "initial_weights": {"name": "hf://user/first", "sha256": "ab" * 32},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "generator.keras"
    save_generator(random_generator(global_residual=True), path)
    return path


@pytest.fixture(scope="module")
def published(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    return folder, publish(
        source, folder, repository="user/sharp", license="cc-by-4.0", notes="Of *our* frames.", training=TRAINING
    )


def test_the_network_is_copied_byte_for_byte(source, published):
    folder, description = published
    assert (folder / "generator.keras").read_bytes() == source.read_bytes()
    assert description["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert {path.name for path in folder.iterdir()} == set(FILES)


def test_model_json(published):
    folder, description = published
    assert json.loads((folder / "model.json").read_text()) == description
    assert description["network"] == {
        "num_scales": 2,
        "num_res_blocks": 1,
        "filters": 12,
        "kernel_size": 3,
        "global_residual": True,
        "space_to_depth": 1,
        "parameters": random_generator().count_params(),
    }
    assert (description["license"], description["blur_key"], description["ssim"]) == ("cc-by-4.0", "blur", "gaussian")
    assert description["training"] == TRAINING


def test_the_card(published):
    _, front, text = (published[0] / "README.md").read_text().split("---\n", 2)
    assert "license: cc-by-4.0" in front.splitlines()
    assert 'td.Deblurrer.load("hf://user/sharp")' in text
    assert "after 1,000 steps: PSNR 29.08 dB, SSIM (gaussian) 0.9123" in text
    assert "| blur key | blur |" in text
    assert "Of *our* frames." in text.splitlines()
    assert f"| started from | hf://user/first (SHA-256 `{'ab' * 32}`) |" in text
    assert f"`{published[1]['sha256']}`" in text
    assert "--patch_size=256" in text
    assert "![blurry, restored, sharp](picture.png)" in text


def test_the_picture_is_what_the_network_makes(source, published):
    blurry, restored, _ = np.split(
        np.pad(read_image(published[0] / "picture.png"), [(0, 0), (0, 4), (0, 0)]), 3, axis=1
    )
    np.testing.assert_array_equal(restored[:, :-4], Deblurrer.load(source, precision="float32")(blurry[:, :-4]))


def test_published_again_it_says_the_same_about_its_training(published, tmp_path):
    again = publish(published[0], tmp_path)
    assert again["training"] == TRAINING
    assert (tmp_path / "generator.keras").read_bytes() == (published[0] / "generator.keras").read_bytes()


def test_a_network_of_unknown_origin(source, tmp_path):
    publish(source, tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "None are recorded." in text
    assert "| training data | not recorded |" in text


def results_of(folder, source, **changes):
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    results = {
        "benchmark": "gopro",
        "blur_key": "blur_gamma",
        "model": f"runs/gopro (sha256 {digest[:12]}, precision float32)",
        "num_images": 2,
        "num_available": 1111,
        "mean": {"psnr": 29.0, "ssim_gaussian": 0.9, "seconds": 1.0},
        "blurry": {"psnr": 25.0, "ssim_gaussian": 0.8},
        "rows": [],
    }
    (folder / "results.json").write_text(json.dumps(results | changes))
    write_image(folder / "sheet.png", np.zeros((8, 8, 3), np.uint8))
    return folder


def test_an_evaluation_is_shown_on_the_card(source, tmp_path):
    folder = results_of(tmp_path, source)
    description = publish(source, tmp_path / "published", training=TRAINING, results_dir=folder)
    assert "rows" not in description["results"]
    text = (tmp_path / "published" / "README.md").read_text()
    assert "gopro, blur_gamma, 2 of 1111 images:" in text
    assert re.findall(r"\| (PSNR|SSIM).* \| (.*) \| (.*) \|", text) == [
        ("PSNR", "25.00", "29.00"),
        ("SSIM", "0.8000", "0.9000"),
    ]
    assert "On the training's validation frames" in text
    assert (tmp_path / "published" / "picture.png").read_bytes() == (folder / "sheet.png").read_bytes()


def test_results_of_another_network_are_refused(source, tmp_path):
    folder = results_of(tmp_path, source, model="other (sha256 0123456789ab, precision float32)")
    with pytest.raises(InputError, match=r"results\.json: holds the scores of another network"):
        publish(source, tmp_path / "published", results_dir=folder)


@pytest.mark.parametrize("content", [None, "not JSON", "[]", "{}"])
def test_unusable_results_are_refused(source, tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=r"results\.json: (is damaged|cannot be read)"):
        publish(source, tmp_path / "published", results_dir=tmp_path)


def test_the_folder_of_the_network_itself_is_refused(source):
    with pytest.raises(InputError, match="use another `output_dir`"):
        publish(source.parent, source.parent)
    assert not source.with_name("model.json").exists()


def test_a_licence_that_would_break_the_card(source, tmp_path):
    with pytest.raises(InputError, match="`license` must be an identifier"):
        publish(source, tmp_path, license="mit\nx: y")
