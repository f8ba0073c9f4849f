"""Muon orthogonalises the momentum of the ResBlocks' kernels; everything else is updated by Adam."""

import keras
import numpy as np
import pytest

from tests.training.gans import batch, make
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.training import ConvMuon
from tf_deepdeblur.training.checkpoint import Checkpoints

RATE, MOMENTUM = 1e-2, 0.95


def muon():
    return ConvMuon(RATE, weight_decay=None, adam_weight_decay=None)


def is_in_a_block(variable):
    return "res_block" in variable.path and variable.path.endswith("kernel")


@pytest.fixture
def generator():
    return Generator(2, 1, 8, 3, space_to_depth=2)


@pytest.fixture
def gradients(generator):
    """Of two steps."""
    rng = np.random.default_rng(0)
    return [[rng.normal(size=weight.shape).astype(np.float32) for weight in generator.weights] for _ in range(2)]


def steps(generator, optimizer, gradients):
    """The changes of all weights by each of several steps."""
    changes, before = [], generator.get_weights()
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradient], generator.trainable_variables)
        changes.append([b - a for a, b in zip(before, generator.get_weights(), strict=True)])
        before = generator.get_weights()
    return changes


def test_kernels_of_blocks_move_along_the_orthogonal_factor_of_their_momentum(generator, gradients):
    """By singular value decomposition: the Newton-Schulz iteration sets all singular values to about 1."""
    changes, compared = steps(generator, muon(), gradients), 0
    for index, variable in enumerate(generator.trainable_variables):
        if not is_in_a_block(variable):
            continue
        momentum = 0.0
        for gradient, change in zip(gradients, changes, strict=True):
            momentum = gradient[index] + MOMENTUM * momentum
            matrix = (gradient[index] + MOMENTUM * momentum).reshape(-1, 8)
            left, _, right = np.linalg.svd(matrix, full_matrices=False)
            scaled = change[index].reshape(-1, 8) / (-RATE * 0.2 * np.sqrt(max(matrix.shape)))
            found = left.T @ scaled @ right.T
            assert np.all((np.diag(found) > 0.65) & (np.diag(found) < 1.25))
            np.testing.assert_allclose(found, np.diag(np.diag(found)), atol=1e-4)
            compared += 1
    assert compared == 2 * 2 * 2  # scales, convolutions, steps


def test_everything_else_moves_as_by_adam(generator, gradients):
    start = generator.get_weights()
    ours = steps(generator, muon(), gradients)
    generator.set_weights(start)
    adams = steps(generator, keras.optimizers.Adam(RATE), gradients)
    others = [index for index, variable in enumerate(generator.trainable_variables) if not is_in_a_block(variable)]
    assert len(others) == len(start) - 4
    for step in range(2):
        for index in others:
            np.testing.assert_allclose(ours[step][index], adams[step][index], rtol=1e-3, atol=1e-6)


def trained(steps, model):
    for _ in range(steps):
        model.train_step(batch())
    return model


def test_a_restored_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    model, again = (make(False, generator_optimizer=muon()) for _ in range(2))
    Checkpoints(tmp_path, trained(2, model)).save(2)
    Checkpoints(tmp_path, again).restore()
    for expected, value in zip(
        trained(2, model).generator.get_weights(), trained(2, again).generator.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(expected, value)


def test_a_saved_model_carries_it(tmp_path):
    model = make(False, generator_optimizer=muon())
    trained(2, model).save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    assert type(loaded.generator_optimizer) is ConvMuon
    for expected, value in zip(
        trained(1, model).generator.get_weights(), trained(1, loaded).generator.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(expected, value)
