"""The authors' state dicts, recorded and made up, become generators; anything else is named and refused."""

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import correlate2d

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models import torch_weights
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.torch_weights import generator_from_state

DATA = Path(__file__).parents[1] / "golden"
HEAD = "body_models.0.body.0.weight"
UPCONV = "conv_end_models.1.uppath.0.weight"


def load(name):
    with np.load(DATA / name) as arrays:
        return dict(arrays)


def authors_state(num_scales, body_side=5, num_res_blocks=1, filters=4):
    """Random tensors under the names, and in the shapes, of the authors' network."""
    random = np.random.default_rng(0)
    state = {}

    def add(prefix, channels_in, channels_out, side):
        kernel = random.normal(0, 1 / np.sqrt(channels_in * side**2), (channels_out, channels_in, side, side))
        state[f"{prefix}.weight"] = kernel.astype(np.float32)
        state[f"{prefix}.bias"] = random.normal(0, 20, channels_out).astype(np.float32)

    for k in range(num_scales):
        body = f"body_models.{k}.body"
        add(f"{body}.0", 3 if k == num_scales - 1 else 6, filters, body_side)
        for block in range(1, num_res_blocks + 1):
            add(f"{body}.{block}.body.0", filters, filters, body_side)
            add(f"{body}.{block}.body.2", filters, filters, body_side)
        add(f"{body}.{num_res_blocks + 1}", filters, 3, body_side)
    for k in range(1, num_scales):
        add(f"conv_end_models.{k}.uppath.0", 3, 12, 5)
    return state


def authors_network(state, pyramid):
    """The authors' network of one ResBlock, written plainly: [C, H, W] images in [0, 255], finest first."""

    def conv(prefix, image):
        kernels, biases = state[f"{prefix}.weight"], state[f"{prefix}.bias"]
        sums = [sum(correlate2d(image[i], kernel[i], "same") for i in range(len(image))) for kernel in kernels]
        return np.stack(sums) + biases[:, None, None]

    def body(k, image):
        features = conv(f"body_models.{k}.body.0", image)
        inner = np.maximum(conv(f"body_models.{k}.body.1.body.0", features), 0)
        return conv(f"body_models.{k}.body.2", features + conv(f"body_models.{k}.body.1.body.2", inner))

    def shuffle(image):
        _, height, width = image.shape
        return image.reshape(3, 2, 2, height, width).transpose(0, 3, 1, 4, 2).reshape(3, 2 * height, 2 * width)

    restored = [body(len(pyramid) - 1, pyramid[-1] - 127.5)]
    for k in reversed(range(len(pyramid) - 1)):
        coarse = shuffle(conv(f"conv_end_models.{k + 1}.uppath.0", restored[0]))
        restored.insert(0, body(k, np.concatenate([pyramid[k] - 127.5, coarse])))
    return [image + 127.5 for image in restored]


def restore(generator, pyramid):
    """A generator on [0, 255] images."""
    return [np.asarray(level) * 255 + 127.5 for level in generator([level / 255 - 0.5 for level in pyramid])]


@pytest.mark.parametrize(("num_scales", "num_res_blocks"), [(1, 4), (3, 2)])
def test_recorded_outputs_of_the_authors_code(num_scales, num_res_blocks):
    generator = generator_from_state(load(f"authors_k{num_scales}_state.npz"))
    recorded = load(f"authors_k{num_scales}.npz")
    restored = restore(generator, [recorded[f"input_{k}"] for k in range(num_scales)])
    assert (generator.num_scales, generator.num_res_blocks) == (num_scales, num_res_blocks)
    assert (generator.filters, generator.kernel_size, generator.global_residual) == (8, 5, False)
    for k in range(num_scales):
        np.testing.assert_allclose(restored[k], recorded[f"output_{k}"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("num_scales", [1, 2, 3])
@pytest.mark.parametrize("body_side", [3, 5, 7])
def test_any_kernel_size_beside_upconvolutions_that_are_always_5x5(num_scales, body_side):
    state = authors_state(num_scales, body_side)
    pyramid = [np.random.default_rng(k).uniform(0, 255, (3, 16 >> k, 24 >> k)) for k in range(num_scales)]
    generator = generator_from_state(state)
    assert generator.kernel_size == (body_side if num_scales == 1 else max(body_side, 5))
    restored = restore(generator, [level.transpose(1, 2, 0)[None] for level in pyramid])
    for ours, theirs in zip(restored, authors_network(state, pyramid), strict=True):
        np.testing.assert_allclose(ours[0].transpose(2, 0, 1), theirs, rtol=0, atol=1e-3)


def test_the_paper_s_network_is_recognised():
    state = authors_state(3, num_res_blocks=19, filters=64)
    assert generator_from_state(state).count_params() == sum(tensor.size for tensor in state.values()) == 11_721_321


def test_names_wrapped_by_data_parallel():
    state = authors_state(2)
    wrapped = generator_from_state({f"module.{name}": tensor for name, tensor in state.items()})
    for ours, theirs in zip(wrapped.get_weights(), generator_from_state(state).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_half_precision_tensors_become_float32():
    state = {name: tensor.astype(np.float16) for name, tensor in authors_state(1).items()}
    assert {weight.dtype for weight in generator_from_state(state).weights} == {"float32"}


def test_the_state_is_left_as_it_was():
    state, untouched = authors_state(2), authors_state(2)
    generator_from_state(state)
    assert all(np.array_equal(state[name], untouched[name]) for name in untouched)


@pytest.mark.parametrize("name", list(authors_state(2)))
def test_every_missing_tensor_is_named(name):
    state = authors_state(2)
    del state[name]
    with pytest.raises(InputError, match=rf"missing {name}"):
        generator_from_state(state)


@pytest.mark.parametrize("name", list(authors_state(2)))
def test_every_misshapen_tensor_is_an_error(name):
    state = authors_state(2)
    state[name] = np.concatenate([state[name], state[name]])
    with pytest.raises(InputError, match=r"has shape \(.*\); expected \(.*\) from the other tensors"):
        generator_from_state(state)


@pytest.mark.parametrize("name", ["D.conv.weight", "body_models.0.body.7.body.0.weight", "body_models.2.body.0.bias"])
def test_every_unknown_tensor_is_named(name):
    state = {**authors_state(1), name: np.zeros(4, np.float32)}
    with pytest.raises(InputError, match=f"unknown .*{name}"):
        generator_from_state(state)


@pytest.mark.parametrize("name", [HEAD, UPCONV, "body_models.1.body.1.body.2.weight"])
@pytest.mark.parametrize("shape", [(12, 3, 5, 3), (12, 3, 4, 4), (12, 3), (0, 3, 5, 5)])
def test_kernels_must_be_odd_squares(name, shape):
    state = {**authors_state(2), name: np.zeros(shape, np.float32)}
    with pytest.raises(InputError, match=rf"{name} has shape"):
        generator_from_state(state)


def test_one_kernel_smaller_than_its_neighbours_is_an_error():
    state = authors_state(1)
    state["body_models.0.body.1.body.0.weight"] = np.zeros((4, 4, 3, 3), np.float32)
    with pytest.raises(InputError, match=r"body_models\.0\.body\.1\.body\.0\.weight has shape \(4, 4, 3, 3\)"):
        generator_from_state(state)


def test_values_that_are_not_finite_are_an_error():
    state = authors_state(1)
    state["body_models.0.body.2.bias"][1] = np.nan
    with pytest.raises(InputError, match=r"body_models\.0\.body\.2\.bias has values that are not finite"):
        generator_from_state(state)


def test_four_scales_are_an_error():
    with pytest.raises(InputError, match="4 scales"):
        generator_from_state(authors_state(4))


def test_a_stray_high_number_builds_nothing_huge():
    state = {**authors_state(1), "body_models.0.body.999999999.body.0.weight": np.zeros((4, 4, 5, 5), np.float32)}
    with pytest.raises(InputError, match=r"unknown .*999999999"):
        generator_from_state(state)


@pytest.mark.parametrize(
    ("filters", "num_res_blocks", "side", "message"),
    [
        (4, 1, 1001, "`kernel_size` must be at most 31, got 1001"),
        (4, 5000, 1, "`num_res_blocks` must be at most 100, got 5000"),
        (8000, 1, 5, "`filters` must be at most 2048, got 8000"),
        (2000, 1, 9, "a network of .* parameters"),
    ],
)
def test_absurd_networks_are_refused_before_they_are_built(filters, num_res_blocks, side, message):
    """The tensors may be views of a single number, which take no memory themselves."""
    state = {HEAD: np.broadcast_to(np.float32(0), (filters, 3, side, side))}
    for block in range(1, num_res_blocks + 1):
        state[f"body_models.0.body.{block}.body.0.bias"] = np.zeros(1, np.float32)
    with pytest.raises(InputError, match=message):
        generator_from_state(state)


def test_another_network_is_described_in_one_line():
    state = {f"layer{number}.weight": np.zeros(3, np.float32) for number in range(300)}
    with pytest.raises(InputError, match=r"layer0\.weight, .* and 292 more") as raised:
        generator_from_state(state)
    assert "\n" not in str(raised.value)


def test_nothing_at_all_is_an_error():
    with pytest.raises(InputError, match="but nothing"):
        generator_from_state({})


def test_weights_of_ours_without_a_tensor_of_theirs_are_noticed(monkeypatch):
    class Wider(Generator):
        def build(self, input_shape=None):
            super().build(input_shape)
            self.add_weight(shape=(1,), name="stray")

    monkeypatch.setattr(torch_weights, "Generator", Wider)
    with pytest.raises(RuntimeError, match="no tensor"):
        generator_from_state(authors_state(1))
