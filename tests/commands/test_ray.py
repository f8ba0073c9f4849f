"""The commands on a Ray cluster of two machines, which one machine plays: the bytes are those of one process."""

from importlib.util import find_spec

import numpy as np
import pytest

from tests.helpers import write_pairs
from tf_deepdeblur.io.images import write_image
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import save_generator

# Looked for, not imported: that takes a second wherever tests are collected.
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
pytestmark = [needs_ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def address():
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
    cluster.add_node(num_cpus=1, **memory)
    yield cluster.address
    cluster.shutdown()


def files(folder):
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".made_from.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_each_command_leaves_the_files_of_one_process(run_here, address, tmp_path):
    model = tmp_path / "model.keras"
    save_generator(Generator(1, 1, 4, 3, global_residual=True), model)
    data = write_pairs(tmp_path / "data", 3)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        write_image(photos / f"{number}.png", np.random.default_rng(number).integers(0, 256, (80, 90, 3), np.uint8))
    (photos / "bad.png").write_text("no picture")
    network = (f"--model={model}", "--precision=float32")
    for name, code, words in (
        ("deblur", 1, (*network, photos)),
        ("evaluate", 0, (*network, "--benchmark=pairs", f"--data_dir={data}", "--notiming")),
        ("make_blur", 1, ("--from_photos", "--takes=1", photos)),
    ):
        alone = run_here(name, f"--output_dir={tmp_path / name}", *words)
        divided = run_here(name, f"--output_dir={tmp_path / 'ray' / name}", f"--ray_address={address}", *words)
        assert (alone.returncode, divided.returncode) == (code, code), divided.stderr
        assert ("bad.png: " in divided.stderr) == bool(code)
        assert files(tmp_path / "ray" / name) == files(tmp_path / name)
        assert len(files(tmp_path / name)) >= 2


def test_an_address_without_a_cluster_is_one_line(run_here, tmp_path):
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    words = (f"--output_dir={tmp_path / 'out'}", "--ray_address=127.0.0.1:1", tmp_path / "a.png")
    refused = run_here("deblur", *words)
    assert refused.returncode == 1
    assert "--ray_address=127.0.0.1:1: no Ray cluster to work with" in refused.stderr.splitlines()[-1]
