"""The peers compute what this package computes, from the same weights."""

from pathlib import Path

import numpy as np
import pytest
import same_weights

from tf_deepdeblur.config import LossConfig, ModelConfig
from tf_deepdeblur.models.discriminator import Discriminator
from tf_deepdeblur.models.generator import Generator, count_parameters

GOLDEN = Path(__file__).parents[1] / "golden"
MODEL = ModelConfig(num_scales=2, num_res_blocks=1, filters=4, kernel_size=3)
ARCHITECTURE = {"num_scales": 2, "num_res_blocks": 1, "filters": 4, "kernel_size": 3}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.npz"
    np.savez(path, **same_weights.make_weights(**ARCHITECTURE))
    return str(path)


@pytest.mark.parametrize("architecture", [ARCHITECTURE, {**ARCHITECTURE, "num_scales": 3, "num_res_blocks": 2}])
def test_there_are_as_many_weights_as_in_our_networks(architecture):
    counts = {name: value.size for name, value in same_weights.make_weights(**architecture).items()}
    judged = sum(count for name, count in counts.items() if name.startswith("discriminator"))
    assert sum(counts.values()) - judged == count_parameters(**architecture)
    assert judged == Discriminator().count_params()


def test_the_papers_network_needs_672_gflop_for_a_patch():
    per_pixel = same_weights.flops_per_pixel(num_scales=3, num_res_blocks=19, filters=64, kernel_size=5)
    by_hand = 2 * 25 * 64 * 64 * 38 * (1 + 1 / 4 + 1 / 16)  # the ResBlocks' convolutions, all but 1 % of it
    assert by_hand < per_pixel < 1.01 * by_hand
    assert round(per_pixel * 256**2 / 1e9) == pytest.approx(672, abs=3)


@pytest.mark.slow
def test_the_peer_is_the_authors_network():
    torch = pytest.importorskip("torch")
    import authors_network

    checkpoint = torch.load(GOLDEN / "authors_k3.pt", weights_only=True)["G"]
    filters = checkpoint["body_models.0.body.0.weight"].shape[0]
    blocks = len({name.split(".")[3] for name in checkpoint if name.startswith("body_models.0")}) - 2
    network = authors_network.MSResNet(3, blocks, filters, 5)
    network.load_state_dict(checkpoint)
    recorded = np.load(GOLDEN / "authors_k3.npz")
    names = [sorted(name for name in recorded.files if name.startswith(kind)) for kind in ("input", "output")]
    pyramid, expected = ([recorded[name] for name in part] for part in names)
    with torch.no_grad():
        restored = network([torch.from_numpy(level).permute(0, 3, 1, 2) - 127.5 for level in pyramid])
    for level, truth in zip(restored, expected, strict=True):
        np.testing.assert_allclose(level.permute(0, 2, 3, 1) + 127.5, truth, atol=2e-3)


@pytest.mark.slow
def test_pytorch_restores_the_same_image(weights, tmp_path):
    pytest.importorskip("torch")
    import ours
    import pytorch_peer

    ours.prepare_model(weights, MODEL, tmp_path / "generator.keras")()
    restored = ours.prepare_restoring(tmp_path / "generator.keras", (24, 36), "float32")()
    theirs = pytorch_peer.prepare_restoring(weights, MODEL, (24, 36), "float32", "channels_last")()
    assert restored.std() > 20  # not a flat grey that agrees with anything
    assert np.abs(restored.astype(int) - theirs).max() <= 1
    assert (restored != theirs).mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("adversarial_weight", [0.0, 1e-2])
def test_pytorch_trains_alike(weights, tiny_config, adversarial_weight):
    pytest.importorskip("torch")
    import ours
    import pytorch_peer

    config = tiny_config(
        loss=LossConfig(adversarial_weight=adversarial_weight).__dict__,
        data={"patch_size": 256 if adversarial_weight else 32},
        optimizer={"learning_rate": 5e-5},
        **ARCHITECTURE,
    )
    train = ours.prepare_training(weights, config)
    theirs = pytorch_peer.prepare_training(
        weights, config.model, adversarial_weight, 2, config.data.patch_size, "float32", "as written"
    )
    losses = np.array([(train(), theirs()) for _ in range(2)])
    np.testing.assert_allclose(losses[0, 0], losses[0, 1], rtol=1e-5)
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-3)
    assert losses[1, 0] < losses[0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_exported_networks_restore_the_same_image(weights, runtime):
    for package in ("torch", "onnxscript", runtime):
        pytest.importorskip(package)
    import onnx_peers
    import pytorch_peer

    restored = getattr(onnx_peers, f"prepare_{runtime}")(weights, MODEL, (24, 36), "float32")()
    expected = pytorch_peer.prepare_restoring(weights, MODEL, (24, 36), "float32", "as written")()
    assert np.abs(restored.astype(int) - expected).max() <= 1


def test_the_generator_takes_the_weights(weights):
    import ours

    generator = ours._generator(weights, MODEL)
    assert isinstance(generator, Generator)
    head = np.load(weights)["body_models.0.body.0.weight"]
    np.testing.assert_array_equal(generator.scales[0].head.kernel, head.transpose(2, 3, 1, 0))
