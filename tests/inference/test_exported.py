"""SavedModel folders and .tflite files restore images of any size, or say why not."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export.saved_model import export_saved_model
from tf_deepdeblur.inference import exported
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.pixels import to_float, to_uint8
from tf_deepdeblur.models.generator import Generator

pytestmark = pytest.mark.slow  # nearly all of them load or make an export

SIZES = [(1, 1), (3, 50), (40, 64), (37, 21)]


class Export(tf.Module):
    """What an export promises, for a network of two scales."""

    def __init__(self, generator):
        super().__init__()
        self._generator = generator
        self._weights = [tf.constant(weight) for weight in generator.get_weights()]

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def __call__(self, image):
        return self.restore(image)

    def restore(self, image):
        return to_uint8(self._generator.with_weights(self._weights)(to_float(image)))


class Strange(tf.Module):
    """An export of something else."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def __call__(self, image):
        return image[:, ::2]


class Talkative(tf.Module):
    """Another model with the same input, which returns more than an image."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def __call__(self, image):
        return {"image": image, "score": 1.0}


@pytest.fixture(scope="module")
def generator():
    generator = Generator(2, 1, 4)
    rng = np.random.default_rng(0)
    generator.set_weights([rng.normal(0, 0.06, weight.shape) for weight in generator.get_weights()])
    return generator


@pytest.fixture(scope="module")
def saved_model(generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "saved_model"
    tf.saved_model.save(Export(generator), str(folder))
    return folder


@pytest.fixture(scope="module")
def tflite_of(generator, tmp_path_factory):
    """Writes a .tflite file for images of one size, or of any."""
    folder = tmp_path_factory.mktemp("tflite")

    def write(height=None, width=None):
        module = Export(generator)
        signature = tf.TensorSpec([1, height, width, 3], tf.uint8, name="image")
        serve = tf.function(lambda image: {"restored": module.restore(image)}, input_signature=[signature])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], module)
        path = folder / f"{height}x{width}.tflite"
        path.write_bytes(converter.convert())
        return path

    return write


@pytest.fixture(scope="module")
def tflite(tflite_of):
    return tflite_of()


def noise(height, width):
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def expected(generator, image):
    return Export(generator)(image[None])[0].numpy()


@pytest.mark.slow
def test_a_saved_model_restores_every_size(generator, saved_model):
    deblur, shares = Deblurrer.load(saved_model), []
    for size in SIZES:
        restored = deblur(noise(*size), shares.append)
        np.testing.assert_array_equal(restored, expected(generator, noise(*size)))
    assert shares == [1.0] * len(SIZES)


def test_the_highest_version_of_a_saved_model_is_loaded(generator, saved_model, tmp_path):
    for version in ("2", "10"):
        (tmp_path / version).parent.mkdir(exist_ok=True)
    (tmp_path / "10").symlink_to(saved_model)
    (tmp_path / "2").mkdir()
    assert Deblurrer.load(tmp_path)(noise(8, 8)).shape == (8, 8, 3)


@pytest.mark.slow
def test_a_tflite_file_restores_every_size(generator, tflite):
    deblur = Deblurrer.load(tflite)
    for size in SIZES:
        restored = deblur(noise(*size)).astype(int)
        np.testing.assert_allclose(restored, expected(generator, noise(*size)), atol=1)


def test_a_tflite_file_of_one_size_refuses_others_by_name(generator, tflite_of):
    path = tflite_of(16, 24)
    deblur = Deblurrer.load(path)
    np.testing.assert_allclose(deblur(noise(16, 24)).astype(int), expected(generator, noise(16, 24)), atol=1)
    for size in ((24, 16), (8, 8), (32, 24)):
        with pytest.raises(
            InputError, match=rf"^{path}: takes images of 16x24 \(height x width\) only, not {size[0]}x{size[1]}"
        ):
            deblur(noise(*size))


@pytest.mark.parametrize("kind", ["saved_model", "tflite"])
def test_what_exports_cannot_do_is_said(request, kind, monkeypatch):
    path = request.getfixturevalue(kind)
    for options in ({"tile": 64}, {"precision": "float32"}):
        with pytest.raises(InputError, match=rf"^{path}: an exported model has its own precision and no tiles"):
            Deblurrer.load(path, **options)
    deblur = Deblurrer.load(path, tile=0)
    with pytest.raises(InputError, match="an exported model restores 8 bits per channel, not 16"):
        deblur(np.zeros((8, 8, 3), np.uint16))
    monkeypatch.setattr(runtime, "free_memory", lambda: 2**20)
    with pytest.raises(
        InputError, match=rf"^{path}: needs some 0\.\d GiB for 200x300 pixels \(height x width\), 0\.0 GiB are free"
    ):
        deblur(noise(200, 300))


def test_damaged_exports_are_named(saved_model, tflite, tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes((saved_model / "saved_model.pb").read_bytes()[:500])
    content = tflite.read_bytes()
    for name, part in (("empty", 0), ("short", 100), ("half", len(content) // 2)):
        (tmp_path / f"{name}.tflite").write_bytes(content[:part])
    for name in ("saved", "empty.tflite", "short.tflite", "half.tflite"):
        with pytest.raises(InputError, match=rf"^{tmp_path / name}: not an exported deblurring model"):
            Deblurrer.load(tmp_path / name)


def test_exports_of_other_models_are_named(tmp_path):
    tf.saved_model.save(Strange(), str(tmp_path / "strange"))
    with pytest.raises(InputError, match=r"it returns uint8 \[4, 8, 3\] for uint8 \[8, 8, 3\]"):
        Deblurrer.load(tmp_path / "strange")(noise(8, 8))
    tf.saved_model.save(Talkative(), str(tmp_path / "talkative"))
    with pytest.raises(InputError, match=r"talkative: not an exported deblurring model"):
        Deblurrer.load(tmp_path / "talkative")(noise(8, 8))
    tf.saved_model.save(tf.Module(), str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="it has no __call__"):
        Deblurrer.load(tmp_path / "nothing")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "strange"))
    (tmp_path / "strange.tflite").write_bytes(converter.convert())
    with pytest.raises(InputError, match="not an exported deblurring model"):
        Deblurrer.load(tmp_path / "strange.tflite")


# What is refused before it is loaded.


class Writing(tf.Module):
    """A network that also writes a file, in one of the ways that there are."""

    def __init__(self, way, path):
        super().__init__()
        self._write = {
            "write_file": lambda: tf.io.write_file(path, "text"),
            "checkpoint": lambda: tf.raw_ops.SaveV2(
                prefix=path, tensor_names=["x"], shape_and_slices=[""], tensors=[tf.zeros(3)]
            ),
            "nested": tf.function(lambda: self._mapped(1)),
            "branch": lambda: tf.cond(tf.random.uniform([]) < 2, lambda: tf.io.write_file(path, "text"), tf.no_op),
            "data_set": lambda: tf.data.Dataset.range(1).map(self._mapped).reduce(np.int64(0), lambda a, b: a + b),
            "python": lambda: tf.py_function(lambda: path, [], tf.string),
        }[way]
        self._path = path

    def _mapped(self, number):
        tf.io.write_file(self._path, "text")
        return number

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def __call__(self, image):
        self._write()
        return image


def model_proto(folder):
    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("num_scales", [1, 2, 3])
def test_our_exports_have_known_operators(num_scales, tmp_path):
    export_saved_model(Generator(num_scales, 1, 2, 3, True), tmp_path / "saved_model", {})
    np.testing.assert_array_equal(Deblurrer.load(tmp_path / "saved_model")(noise(5, 7)), noise(5, 7))


@pytest.mark.parametrize("way", ["write_file", "checkpoint", "nested", "branch", "data_set", "python"])
def test_a_saved_model_that_reaches_beyond_its_tensors_is_not_loaded(way, tmp_path, monkeypatch):
    folder = tmp_path / "saved_model"
    tf.saved_model.save(Writing(way, str(tmp_path / "written")), str(folder))
    operator = {"checkpoint": "SaveV2", "python": "EagerPyFunc"}.get(way, "WriteFile")
    monkeypatch.setattr(tf.saved_model, "load", lambda path: pytest.fail("it is loaded"))
    with pytest.raises(InputError, match=rf"^{folder}: not an exported .* \(it has the operators .*{operator}.*\)"):
        Deblurrer.load(folder)
    assert not list(tmp_path.glob("written*"))


def test_functions_are_found_however_the_object_graph_names_them(tmp_path):
    folder = tmp_path / "saved_model"
    tf.saved_model.save(Writing("write_file", str(tmp_path / "written")), str(folder))
    changed = model_proto(folder)
    changed.meta_graphs[0].object_graph_def.concrete_functions.clear()
    (folder / "saved_model.pb").write_bytes(changed.SerializeToString())
    with pytest.raises(InputError, match=r"it has the operators .*WriteFile"):
        Deblurrer.load(folder)


def test_the_format_that_runs_while_it_is_loaded_is_refused(saved_model, tmp_path):
    changed = model_proto(saved_model)
    changed.meta_graphs[0].ClearField("object_graph_def")
    (tmp_path / "saved_model.pb").write_bytes(changed.SerializeToString())
    with pytest.raises(InputError, match="the format of TensorFlow 1"):
        Deblurrer.load(tmp_path)


def test_a_tflite_file_is_compared_with_its_checksum(tflite, tmp_path, monkeypatch):
    path = tmp_path / "generator.tflite"
    path.write_bytes(tflite.read_bytes())
    path.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(tflite.read_bytes()).hexdigest()}))
    monkeypatch.setattr(exported.subprocess, "run", lambda *_, **__: pytest.fail("a trial is not needed"))
    assert Deblurrer.load(path)(noise(8, 8)).shape == (8, 8, 3)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"^{path}: .*its SHA-256 is not the one in generator\.json: it is damaged"):
        Deblurrer.load(path)


@pytest.mark.parametrize("notes", [None, "{", "[]", "{}", "[" * 100_000])
def test_a_tflite_file_without_a_checksum_is_tried_in_another_process(tflite, tmp_path, monkeypatch, notes):
    path = tmp_path / "generator.tflite"
    path.write_bytes(tflite.read_bytes())
    if notes is not None:
        path.with_suffix(".json").write_text(notes)
    monkeypatch.setattr(exported, "_TRIAL", "import os; os.abort()")
    with pytest.raises(InputError, match=rf"^{path}: not an exported deblurring model \(LiteRT crashes on it\)"):
        Deblurrer.load(path)
