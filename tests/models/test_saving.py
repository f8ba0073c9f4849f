"""Generators are written and read as .keras files, which need not be trusted; models are found by folder and name."""

import io
import json
import resource
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tests.processes import returned
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models.discriminator import Discriminator
from tf_deepdeblur.models.generator import Generator, count_parameters
from tf_deepdeblur.models.saving import find_model, load_generator, save_generator

ARGUMENTS = {
    "num_scales": 2,
    "num_res_blocks": 1,
    "filters": 4,
    "kernel_size": 3,
    "global_residual": True,
    "space_to_depth": 2,
}
IMAGES = np.random.default_rng(0).random((1, 9, 12, 3), np.float32) - 0.5


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """{name: content} of a generator's file; treat it as read-only."""
    path = tmp_path_factory.mktemp("saved") / "g.keras"
    save_generator(Generator(**ARGUMENTS), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "g.keras"


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_config(members, **changes):
    """The members with other arguments of the Generator."""
    model = json.loads(members["config.json"])
    model["config"] |= changes
    return {**members, "config.json": json.dumps(model)}


def with_weights(members, change):
    """The members with weights that ``change(h5py.File)`` has been called with."""
    content = io.BytesIO(members["model.weights.h5"])
    with h5py.File(content, "a") as file:
        change(file)
    return {**members, "model.weights.h5": content.getvalue()}


def arrays(file):
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def replaced(file, **options):
    """Replaces the first array by one of the same shape, zeros, made with other options."""
    name = arrays(file)[0]
    shape = file[name].shape
    del file[name]
    return file.create_dataset(name, **{"shape": shape, "dtype": "float32", **options})


def assert_refused(path, reason=""):
    with pytest.raises(InputError, match=rf"^{path}: .*{reason}") as raised:
        load_generator(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("network", [Generator(2, 1, 4, 3, True), Discriminator()], ids=["generator", "discriminator"])
def test_keras_files_load_without_custom_objects(network, tmp_path):
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", safe_mode=True)
    assert loaded.get_config() == network.get_config()
    for ours, theirs in zip(network.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_save_and_load_keep_the_function_and_choose_the_precision(path):
    generator = Generator(2, 1, 4, 3, dtype="mixed_bfloat16")
    save_generator(generator, path)
    exact = load_generator(path)
    assert exact.dtype_policy.name == "float32"
    low = load_generator(path, dtype="mixed_bfloat16")
    np.testing.assert_array_equal(low(IMAGES), generator(IMAGES))
    np.testing.assert_allclose(exact(IMAGES), low(IMAGES), atol=0.05)
    assert [file.name for file in path.parent.iterdir()] == ["g.keras"]


def test_what_keras_saved_of_a_mixed_generator_is_loaded_in_the_precision_asked_for(path):
    generator = Generator(2, 1, 4, 3, dtype="mixed_bfloat16", name="mine")
    generator.save(path)
    loaded = load_generator(path)
    assert loaded.dtype_policy.name == "float32"
    for ours, theirs in zip(generator.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_architecture_is_stored_as_the_constructors_arguments(members):
    """The format of files that exist: a change of it must still read them."""
    model = json.loads(members["config.json"])
    assert (model["registered_name"], model["class_name"]) == ("tf_deepdeblur>Generator", "Generator")
    assert {name: model["config"][name] for name in ARGUMENTS} == ARGUMENTS
    assert model["config"].keys() == ARGUMENTS.keys() | {"name", "trainable", "dtype"}


@pytest.mark.parametrize(
    "arguments",
    [(1, 1, 1, 1), (2, 3, 5, 3), (3, 2, 4, 7), (3, 19, 64, 5), (1, 1, 2, 3, False, 2), (3, 2, 4, 3, True, 2)],
)
def test_parameters_are_counted_without_building(arguments):
    assert count_parameters(*arguments) == Generator(*arguments).count_params()


def test_a_file_from_before_space_to_depth_is_read(path):
    generator = Generator(2, 1, 4, 3)
    generator.save(path)
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    model = json.loads(old["config.json"])
    del model["config"]["space_to_depth"]
    write(path, {**old, "config.json": json.dumps(model)})
    np.testing.assert_array_equal(load_generator(path)(IMAGES), generator(IMAGES))


def test_an_unknown_precision_is_not_the_files_fault(members, path):
    write(path, members)
    with pytest.raises(ValueError, match="foo"):
        load_generator(path, dtype="foo")


@pytest.mark.parametrize("content", [None, b"", b"text"])
def test_what_is_no_archive_is_refused(content, path):
    if content is not None:
        path.write_bytes(content)
    assert_refused(path)


def test_another_model_is_refused(path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    assert_refused(path, "it holds 'Sequential', not a Generator")


@pytest.mark.slow
def test_every_flipped_bit_is_noticed_or_changes_nothing(members, path):
    """A few bytes of an archive say nothing about its contents, for example dates."""
    write(path, members)
    content = path.read_bytes()
    flipped_contents = refused = 0
    for position in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        flipped_contents += any(damaged.find(member) < 0 for member in members.values())
        try:
            load_generator(path)
        except InputError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert flipped_contents > 200
    assert refused >= flipped_contents


def test_a_file_that_was_cut_off_is_refused(members, path):
    write(path, members)
    content = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(content[: len(content) * tenth // 10])
        assert_refused(path)


def test_a_compressed_archive_is_read(members, path):
    write(path, members, zipfile.ZIP_DEFLATED)
    assert load_generator(path).get_config()["filters"] == 4


@pytest.mark.parametrize("method", [9, 12, 14, 99])
def test_other_compressions_are_refused(members, path, method):
    write(path, members)
    content = path.read_bytes()
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        parts = content.split(signature)
        changed = [part[: offset - 4] + method.to_bytes(2, "little") + part[offset - 2 :] for part in parts[1:]]
        content = signature.join([parts[0], *changed])
    path.write_bytes(content)
    assert_refused(path, f"compressed by method {method}")


def test_encrypted_members_are_refused(members, path):
    write(path, members)
    content = path.read_bytes()
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        parts = content.split(signature)
        content = signature.join([parts[0], *(part[: offset - 4] + b"\1\0" + part[offset - 2 :] for part in parts[1:])])
    path.write_bytes(content)
    assert_refused(path, "encrypted")


def test_other_members_are_refused(members, path):
    write(path, {**members, "../../outside.txt": b"text"})
    assert_refused(path, "other files in the archive")
    write(path, {name: content for name, content in members.items() if name != "metadata.json"})
    assert_refused(path, "other files in the archive")


@pytest.mark.parametrize(
    "config", [b"[" * 60_000, b"\xff", b"", b"5", b"[]", b"{}", b'{"registered_name": "tf_deepdeblur>Generator"}']
)
def test_a_config_that_describes_no_generator_is_refused(members, path, config):
    write(path, {**members, "config.json": config})
    assert_refused(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"filters": 10**9}, "`filters` must be at most 2048, got 1000000000"),
        ({"filters": 10**4000}, "`filters` must be at most 2048"),
        ({"filters": 4.0}, "`filters` must be an integer"),
        ({"filters": "4"}, "`filters` must be an integer"),
        ({"filters": [4]}, "`filters` must be an integer"),
        ({"num_scales": True}, "`num_scales` must be an integer"),
        ({"num_scales": 4}, "`num_scales` must be 1, 2 or 3"),
        ({"num_res_blocks": 5000}, "`num_res_blocks` must be at most 100"),
        ({"kernel_size": 2001}, "`kernel_size` must be at most 31"),
        ({"kernel_size": -3}, "`kernel_size` must be an integer of at least 1"),
        ({"global_residual": {"module": "os", "class_name": "system"}}, "`global_residual` must be True or False"),
        ({"space_to_depth": 10**9}, "`space_to_depth` must be 1 or 2, got 1000000000"),
        ({"space_to_depth": 1}, "weights for"),
        ({"filters": 2048}, "bytes of weights for"),
        ({"filters": 3}, "weights for"),
        ({"activation": "relu"}, "unknown arguments"),
    ],
)
def test_arguments_out_of_bounds_are_refused(members, path, changes, reason):
    write(path, with_config(members, **changes))
    assert_refused(path, reason)


def test_nothing_that_the_file_names_is_imported(members, path, tmp_path, monkeypatch):
    """Neither as the class, nor as one of the arguments that do not matter, nor in its compile and build configs."""
    (tmp_path / "keras_hub").mkdir()
    (tmp_path / "keras_hub" / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    planted = {"module": "keras_hub.planted", "class_name": "Run", "registered_name": "Run", "config": {}}
    write(path, {**members, "config.json": json.dumps({**json.loads(members["config.json"]), **planted})})
    assert_refused(path, "it holds 'Run', not a Generator")
    model = json.loads(with_config(members, dtype=planted, name=planted)["config.json"])
    model |= {"module": "keras_hub.planted", "build_config": planted, "compile_config": {"loss": planted}}
    write(path, {**members, "config.json": json.dumps(model)})
    assert load_generator(path).get_config()["filters"] == 4
    assert "keras_hub" not in sys.modules


def test_missing_arrays_are_refused(members, path):
    for number in range(0, len(arrays(h5py.File(io.BytesIO(members["model.weights.h5"])))), 4):

        def drop(file, number=number):
            del file[arrays(file)[number]]

        write(path, with_weights(members, drop))
        assert_refused(path, "weights for .* parameters")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": "int8"}, "not a plain float32 array"),
        ({"dtype": "float64"}, "not a plain float32 array"),
        ({"compression": "gzip"}, "not a plain float32 array"),
        ({"chunks": True}, "not a plain float32 array"),
        ({}, "not a plain float32 array"),  # never written
        ({"external": [("/etc/hostname", 0, h5py.h5f.UNLIMITED)]}, "not a plain float32 array|lies in another file"),
    ],
)
def test_other_kinds_of_arrays_are_refused(members, path, options, reason):
    def change(file):
        array = replaced(file, **options)
        if options and "external" not in options:
            array[...] = 0

    write(path, with_weights(members, change))
    assert_refused(path, reason)


def test_links_are_refused(members, path):
    def soft(file):
        first, second = arrays(file)[:2]
        del file[first]
        file[first] = h5py.SoftLink("/" + second)

    def external(file):
        name = arrays(file)[0]
        del file[name]
        file[name] = h5py.ExternalLink("/etc/hostname", name)

    def hard(file):
        """The same array twice."""
        names = [name for name in arrays(file) if file[name].shape == file[arrays(file)[0]].shape]
        del file[names[1]]
        file[names[1]] = file[names[0]]

    for change, reason in ((soft, "link to other places"), (external, "link to other places"), (hard, "weights for")):
        write(path, with_weights(members, change))
        assert_refused(path, reason)


def test_weights_of_another_shape_are_refused(members, path):
    def change(file):
        name = arrays(file)[0]
        values = file[name][...].ravel()
        del file[name]
        file[name] = values

    write(path, with_weights(members, change))
    assert_refused(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(members, path, value):
    def change(file):
        file[arrays(file)[3]][0] = value

    write(path, with_weights(members, change))
    assert_refused(path, "has weights that are not finite")


def refusals_and_growth(paths):
    """What is said of each path, and by how many kilobytes the peak of memory grows."""
    before, refusals = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for path in paths:
        with pytest.raises(InputError) as refused:
            load_generator(path)
        refusals.append(str(refused.value))
    return refusals, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


@pytest.mark.slow
def test_bombs_take_no_memory(members, tmp_path):
    """Small files that would expand to hundreds of megabytes: in the config, in the weights, as a whole network."""
    arguments = {"num_scales": 1, "num_res_blocks": 1, "filters": 1000, "kernel_size": 3}
    zeros = b"\0" * (4 * count_parameters(**arguments) + 2**20)
    write(tmp_path / "config.keras", {**members, "config.json": zeros}, zipfile.ZIP_DEFLATED)
    write(tmp_path / "metadata.keras", {**members, "metadata.json": zeros}, zipfile.ZIP_DEFLATED)
    network = with_config({**members, "model.weights.h5": zeros}, **arguments)
    write(tmp_path / "network.keras", network, zipfile.ZIP_DEFLATED)
    write(tmp_path / "weights.keras", {**members, "model.weights.h5": zeros}, zipfile.ZIP_DEFLATED)
    paths = sorted(map(str, tmp_path.iterdir()))
    refusals, kilobytes = returned(tmp_path, refusals_and_growth, paths)
    assert [line.split(":")[0] for line in refusals] == paths
    assert "expand to" in refusals[2]
    assert kilobytes < 2**16


def test_missing_models_name_the_path_that_was_searched(tmp_path):
    (tmp_path / "model.pt").touch()
    for name, reason in (
        ("absent.keras", "no such file"),
        ("absent.tflite", "no such file"),
        ("absent", "no such file or folder, nor weights in"),
        (".", "has neither generator.keras .* nor saved_model.pb .*; give one that has"),
        ("model.pt", "not a .keras or .tflite file; `deepdeblur import_weights` imports it"),
    ):
        with pytest.raises(InputError, match=rf"^{tmp_path}.*: {reason}"):
            find_model(tmp_path / name)


def test_a_run_without_a_checkpoint_and_an_exports_folder_say_what_to_do(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.cfg").touch()
    with pytest.raises(InputError, match=r"run: this run has no generator\.keras yet; wait for its first checkpoint"):
        find_model(tmp_path / "run")
    for name in ("tiles_int8", "saved_model"):  # the latter if there are both
        (tmp_path / "out" / name).mkdir(parents=True)
        with pytest.raises(InputError, match=rf"; give {tmp_path}/out/{name}$"):
            find_model(tmp_path / "out")
