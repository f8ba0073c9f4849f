import shutil

import pytest

from tf_deepdeblur.training import loop


@pytest.fixture(scope="session")
def finished_run(make_config, tmp_path_factory):
    """(TrainConfig, result of ``train``) of a run of 4 steps; treat its folder as read-only."""
    config = make_config(tmp_path_factory.mktemp("finished") / "run")
    return config, loop.train(config)


@pytest.fixture
def finished(finished_run, tiny_config):
    """The TrainConfig of ``finished_run`` with a copy of its folder."""
    config = tiny_config()
    shutil.copytree(finished_run[0].run_dir, config.run_dir)
    return config
