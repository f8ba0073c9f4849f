import contextlib
import resource

import numpy as np
import pytest

from tests.training.gans import batch, make
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.training.checkpoint import Checkpoints


def state(model):
    parts = [model.generator, model.discriminator, model.trained_generator]
    optimizers = [model.generator_optimizer, model.discriminator_optimizer]
    return [v.numpy() for part in (*parts, *optimizers) for v in part.variables]


def trained(steps, model=None):
    model = model or make(ema_decay=0.9)
    for _ in range(steps):
        model.train_step(batch())
    return model


@pytest.fixture(scope="module")
def model():
    """A trained one, for tests that compare what they save; they may go on training it."""
    return trained(1)


@pytest.fixture(scope="module")
def again():
    """Another one of the same shape, for what was saved."""
    return make(ema_decay=0.9)


@pytest.mark.slow
def test_a_restored_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    Checkpoints(tmp_path, model := trained(2)).save(2)
    again = make(ema_decay=0.9)
    assert Checkpoints(tmp_path, again).restore() == 2
    for expected, value in zip(state(trained(2, model)), state(trained(2, again)), strict=True):
        np.testing.assert_array_equal(expected, value)


@pytest.mark.slow
def test_only_the_last_two_and_the_best_are_kept(tmp_path, model):
    checkpoints = Checkpoints(tmp_path, model)
    improved = [checkpoints.save_best(step, psnr) for step, psnr in ((5, 20.0), (10, 22.0), (15, 21.0))]
    for step in (5, 10, 15, 100):
        checkpoints.save(step)
    assert improved == [True, True, False]
    steps = {folder: sorted(p.stem for p in (tmp_path / folder).glob("*.index")) for folder in ("last", "best")}
    assert steps == {"last": ["step-100", "step-15"], "best": ["step-10"]}
    assert checkpoints.latest.endswith("step-100")


def test_the_best_score_survives_a_restart(tmp_path, model, again):
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save_best(1, 25.0)
    checkpoints.save(1)
    restarted = Checkpoints(tmp_path, again)
    restarted.restore()
    assert not restarted.save_best(2, 24.0)
    assert restarted.save_best(3, 26.0)


def test_a_best_score_that_came_after_the_newest_checkpoint_survives_a_restart(tmp_path, model, again):
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save(1)
    checkpoints.save_best(1, 25.0)
    restarted = Checkpoints(tmp_path, again)
    restarted.restore()
    assert not restarted.save_best(2, 24.0)


@pytest.mark.slow
@pytest.mark.parametrize("policies", [("mixed_float16", "float32"), ("float32", "mixed_float16")], ids="-".join)
def test_a_run_may_go_on_with_or_without_loss_scaling(tmp_path, policies):
    before, after = (make(dtype=policy, ema_decay=0.9) for policy in policies)
    Checkpoints(tmp_path, trained(1, before)).save(1)
    assert Checkpoints(tmp_path, after).restore() == 1
    for name in ("generator", "discriminator", "trained_generator", "generator_optimizer", "discriminator_optimizer"):
        owners = [getattr(model, name) for model in (before, after)]
        old, new = (getattr(owner, "inner_optimizer", owner) for owner in owners)
        assert all(np.array_equal(a, b) for a, b in zip(old.variables, new.variables, strict=True))
    trained(1, after)


def test_another_model_is_refused(tmp_path, model):
    Checkpoints(tmp_path, model).save(1)
    with pytest.raises(InputError, match="step-1: cannot be restored"):
        Checkpoints(tmp_path, make(adversarial=False)).restore()


def test_a_damaged_checkpoint_is_named(tmp_path, model, again):
    Checkpoints(tmp_path, model).save(1)
    data = next((tmp_path / "last").glob("*.data*"))
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(InputError, match="step-1: cannot be restored"):
        Checkpoints(tmp_path, again).restore()


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, model, again):
    checkpoints = Checkpoints(tmp_path, trained(1, model))
    checkpoints.save(1)
    kept = state(model)
    trained(1, model)
    checkpoints.save(2)
    data = next((tmp_path / "last").glob("step-2.data*"))
    data.write_bytes(data.read_bytes()[:100])
    restarted = Checkpoints(tmp_path, again)
    assert restarted.restore() == 1
    assert all(map(np.array_equal, kept, state(again)))
    assert restarted.last_good == f"the last good checkpoint is {tmp_path}/last/step-1"


def test_a_damaged_newest_checkpoint_is_written_again_at_its_step(tmp_path, model, again):
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save(1)
    checkpoints.save(2)
    data = next((tmp_path / "last").glob("step-2.data*"))
    data.write_bytes(data.read_bytes()[:100])
    restarted = Checkpoints(tmp_path, model)
    assert restarted.restore() == 1
    restarted.save(2)
    assert Checkpoints(tmp_path, again).restore() == 2


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'model_checkpoint_path: ""'])
def test_a_damaged_list_of_checkpoints_is_named(tmp_path, content, again):
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "checkpoint").write_bytes(content)
    with pytest.raises(InputError, match=r"last/checkpoint: is damaged"):
        Checkpoints(tmp_path, again)


@contextlib.contextmanager
def files_up_to(size):
    """The operating system refuses to write files beyond ``size`` bytes, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_failed_save_leaves_the_last_good_one(tmp_path, model, again):
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save(1)

    with (
        files_up_to(1000),
        pytest.raises(InputError, match=r"step 2 could not be saved \(.* last good checkpoint is .*step-1"),
    ):
        checkpoints.save(2)
    assert sorted(p.name for p in (tmp_path / "last").iterdir()) == [
        "checkpoint", "step-1.data-00000-of-00001", "step-1.index",
    ]  # fmt: skip
    assert Checkpoints(tmp_path, again).restore() == 1
    checkpoints.save(2)
    assert checkpoints.latest.endswith("step-2")
