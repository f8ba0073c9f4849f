"""A SavedModel gives the very bytes of a Deblurrer, alone with TensorFlow, and appears whole or not at all."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.export.conftest import random_generator, random_image
from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import saved_model, tflite
from tf_deepdeblur.export.bundle import metadata
from tf_deepdeblur.inference.deblurrer import Deblurrer

SIZES = [(1, 1), (2, 1), (7, 8), (9, 200), (37, 51), (64, 96)]
LOAD_ALONE = """
import sys
from importlib.machinery import PathFinder
import numpy as np

ABSENT = {"keras", "tf_keras", "tf_deepdeblur"}
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in ABSENT else find(name, *rest)
import tensorflow as tf

restore = tf.saved_model.load(sys.argv[1])
np.save(sys.argv[3], restore(np.load(sys.argv[2])).numpy())
assert not ABSENT & set(sys.modules)
"""


@pytest.fixture(scope="module")
def loaded(saved_model_folder):
    return tf.saved_model.load(saved_model_folder)


@pytest.fixture(scope="module")
def deblur(generator):
    return Deblurrer(generator)


def encoded(image, file_format):
    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format)
    return file.getvalue()


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["saved_model", "tflite"])
def test_a_network_at_half_the_resolution_is_restored_and_needs_a_quarter_of_the_memory(kind, tmp_path, monkeypatch):
    needed, image = [], random_image(37, 51)
    for space_to_depth in (1, 2):
        generator = random_generator(filters=24, global_residual=True, space_to_depth=space_to_depth)
        path = tmp_path / (f"{space_to_depth}.tflite" if kind == "tflite" else str(space_to_depth))
        export = saved_model.export_saved_model if kind == "saved_model" else tflite.export_tflite
        export(generator, path, metadata(generator))
        restore = Deblurrer.load(path)
        np.testing.assert_allclose(restore(image).astype(int), Deblurrer(generator)(image), atol=1)
        with monkeypatch.context() as patched, pytest.raises(InputError, match=r"needs some [\d.]+ GiB") as refused:
            patched.setattr(runtime, "free_memory", lambda: 2**20)
            restore(np.zeros((6000, 4000, 3), np.uint8))
        needed.append(float(re.search(r"some ([\d.]+) GiB", str(refused.value))[1]))
    assert needed[1] == pytest.approx(needed[0] / 4, abs=0.06)  # written with one decimal


@pytest.mark.parametrize("size", SIZES)
def test_the_pixels_of_a_deblurrer(deblur, loaded, size):
    image = random_image(*size)
    np.testing.assert_array_equal(loaded(image[None])[0], deblur(image))


@pytest.mark.slow
@pytest.mark.parametrize("num_scales", [1, 3])
def test_any_number_of_scales(num_scales):
    generator, image = random_generator(num_scales), random_image(37, 51)
    np.testing.assert_array_equal(saved_model.DeblurModule(generator)(image[None])[0], Deblurrer(generator)(image))


def test_a_batch_is_restored_image_by_image(loaded):
    images = np.stack([random_image(19, 23, seed) for seed in range(3)])
    np.testing.assert_array_equal(loaded(images), np.concatenate([loaded(image[None]) for image in images]))


def test_the_default_signature_has_named_tensors(loaded):
    image = random_image(10, 11)[None]
    signature = loaded.signatures["serving_default"]
    assert signature.structured_input_signature[1].keys() == {"image"}
    restored = signature(image=tf.constant(image))
    assert restored.keys() == {"restored"}
    np.testing.assert_array_equal(restored["restored"], loaded(image))


def test_files_of_different_sizes_in_files_out(loaded):
    images = [random_image(21, 30), random_image(8, 5)]
    contents = [encoded(images[0], "JPEG"), encoded(images[1], "PNG")]
    restored = loaded.signatures["serving_bytes"](image_bytes=tf.constant(contents))["restored_bytes"]
    assert restored.shape == [2]
    for content, result in zip(contents, restored.numpy(), strict=True):
        assert result.startswith(b"\x89PNG")
        np.testing.assert_array_equal(decoded(result), loaded(decoded(content)[None])[0])


def test_one_file_without_a_batch(loaded):
    content = tf.constant(encoded(random_image(5, 6), "PNG"))
    assert loaded.signatures["serving_bytes"](image_bytes=content)["restored_bytes"].shape == []


def test_a_file_that_cannot_be_restored_is_named_by_its_position(loaded):
    image = random_image(21, 30)
    good, webp, gif = (encoded(image, file_format) for file_format in ("PNG", "WEBP", "GIF"))
    for bad in (good[:-30], encoded(image, "JPEG")[:-30], webp, gif, b"hello", b""):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"`image_bytes`\[1\] is not a complete PNG or JPEG"):
            loaded.signatures["serving_bytes"](image_bytes=tf.constant([good, bad]))


UNFIT = {
    "no batch": (np.zeros((8, 9, 3), np.uint8), "rank 4|expected shape"),
    "four channels": (np.zeros((1, 8, 9, 4), np.uint8), "3 and 4|expected shape"),
    "empty batch": (np.zeros((0, 8, 9, 3), np.uint8), r"N, H and W from 1, got\] \[0 8 9 3\]"),
    "no pixels": (np.zeros((1, 0, 0, 3), np.uint8), r"N, H and W from 1, got\] \[1 0 0 3\]"),
}
FLOATS = {
    "floats": (np.zeros((1, 8, 9, 3), np.float32), "must be uint8 .* got float32"),
    "float tensor": (tf.zeros((1, 8, 9, 3)), "must be uint8 .* got float32"),
    "list of floats": ([[[[0.5, 0.5, 0.5]]]], "must be uint8 .* got float"),
    "16 bits": (np.zeros((1, 8, 9, 3), np.uint16), "must be uint8 .* got uint16"),
    "nothing": (None, "matching concrete function"),
}
MISNAMED = {"another name": {"images": random_image(8, 9)[None]}, "one more": {"training": False}, "no image": {}}


@pytest.mark.parametrize(("image", "message"), [*UNFIT.values(), *FLOATS.values()], ids=[*UNFIT, *FLOATS])
def test_unfit_images_are_refused_and_other_threads_go_on(loaded, image, message):
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        loaded(image)
    require_other_threads_go_on(loaded)


@pytest.mark.parametrize("arguments", MISNAMED.values(), ids=MISNAMED)
def test_misnamed_arguments_are_refused_and_other_threads_go_on(loaded, arguments):
    with pytest.raises(ValueError, match="matching concrete function"):
        loaded(**arguments)
    require_other_threads_go_on(loaded)


def test_the_image_may_be_named(loaded):
    image = random_image(8, 9)[None]
    np.testing.assert_array_equal(loaded(image=image), loaded(image))


def require_other_threads_go_on(loaded):
    good, restored = random_image(8, 9)[None], []
    thread = threading.Thread(target=lambda: restored.append(loaded(good)), daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert restored, "a call from another thread did not return"
    np.testing.assert_array_equal(restored[0], loaded(good))


@pytest.mark.parametrize(("image", "message"), UNFIT.values(), ids=UNFIT)
def test_the_default_signature_refuses_unfit_images_in_a_sentence(loaded, image, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        loaded.signatures["serving_default"](image=tf.constant(image))


def test_black_images_are_restored(generator, loaded):
    image = np.zeros((8, 9, 3), np.uint8)
    np.testing.assert_array_equal(loaded(image[None])[0], Deblurrer(generator)(image))


@pytest.mark.slow
def test_loads_without_keras_and_without_this_package(generator, saved_model_folder, tmp_path):
    image = random_image(37, 51)
    np.save(tmp_path / "image.npy", image[None])
    command = [sys.executable, "-c", LOAD_ALONE, saved_model_folder, tmp_path / "image.npy", tmp_path / "restored.npy"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "restored.npy")[0], Deblurrer(generator)(image))


def test_the_folder_says_what_it_is(generator, saved_model_folder):
    folder = saved_model_folder
    facts = json.loads((folder / "model.json").read_text())
    assert facts["network"]["num_scales"] == generator.num_scales
    assert facts["network"]["parameters"] == generator.count_params()
    assert {"version", "training", "interface", "weights_sha256"} <= facts.keys()
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert facts["sha256"] == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name != "model.json"
    }


def test_other_weights_have_another_digest(generator):
    same, other = random_generator(global_residual=True), random_generator(scale=0.05, global_residual=True)
    digests = [metadata(network)["weights_sha256"] for network in (same, generator, other)]
    assert digests[0] == digests[1] != digests[2]


def test_an_older_export_is_replaced_and_nothing_else_is_left(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(tf.saved_model, "save", lambda module, part, signatures: (part / "saved_model.pb").touch())
    for facts in ({"take": 1}, {"take": 2}):
        saved_model.export_saved_model(generator, tmp_path / "saved_model", facts)
    assert json.loads((tmp_path / "saved_model" / "model.json").read_text())["take"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model"]


def test_a_failed_export_leaves_the_older_one(generator, saved_model_folder, tmp_path, monkeypatch):
    folder = tmp_path / "saved_model"
    shutil.copytree(saved_model_folder, folder)
    before = sorted(path.name for path in folder.parent.rglob("*"))

    def fail(module, part, signatures):
        (part / "saved_model.pb").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="No space left on device"):
        saved_model.export_saved_model(generator, folder, {})
    assert sorted(path.name for path in folder.parent.rglob("*")) == before


def test_a_folder_that_is_no_export_is_not_replaced(generator, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"photos: exists but is not a SavedModel; remove it or use another"):
        saved_model.export_saved_model(generator, tmp_path / "photos", {})


def test_served_versions_are_not_called_a_thing_to_remove(generator, saved_model_folder, tmp_path):
    shutil.copytree(saved_model_folder, tmp_path / "saved_model" / "1")
    with pytest.raises(InputError, match=r"saved_model: holds versions for TensorFlow Serving; give `serving_version`"):
        saved_model.export_saved_model(generator, tmp_path / "saved_model", {})


def test_a_place_that_cannot_be_written_is_named(generator, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match=str(tmp_path)):
        saved_model.export_saved_model(generator, tmp_path / "file" / "saved_model", {})
