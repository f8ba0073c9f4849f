"""Ray, where it is installed: what happens to the work when workers, actors and machines fail."""

import functools
import os
import time
from importlib.util import find_spec

import pytest

from tf_deepdeblur.cluster import Cluster, Pool
from tf_deepdeblur.cluster.run import Run
from tf_deepdeblur.errors import InputError

# Looked for, not imported: that takes a second wherever tests are collected.
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
pytestmark = [needs_ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def refuses_to_open():
    raise InputError("no such model; give another")


class Recorder:
    """A worker that notes in a folder what it does; it fails on items below 0, and dies of those that are over 99."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, batch, report):
        for number, item in enumerate(batch):
            with (self.folder / str(item)).open("a") as file:
                file.write(f"{os.getpid()}\n")
            if item > 99:
                os._exit(1)
            if item < 0:
                raise RuntimeError(f"item {item} is negative\nand more")
            report(number + 1)
        return [item * 2 for item in batch]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    with Pool(Cluster(cpus=1), tmp_path_factory.mktemp("shared")) as pool:
        yield pool
    assert not list(pool._token.parent.iterdir())


def run(pool, folder, items, sizes):
    done = [
        pair
        for batch, values in pool.map(functools.partial(Recorder, folder), items, sizes)
        for pair in zip(batch, values, strict=True)
    ]
    return dict(done), pool.lost


def test_all_items_are_done_once_in_actors_that_open_once(pool, tmp_path):
    done, lost = run(pool, tmp_path, list(range(40)), [1] * 40)
    assert (done, lost) == ({item: 2 * item for item in range(40)}, [])
    processes = [path.read_text().split() for path in tmp_path.iterdir()]
    assert all(len(lines) == 1 for lines in processes)
    assert len({line for lines in processes for line in lines}) <= pool.capacity()


def test_items_that_fail_or_kill_are_tried_three_times_and_named(pool, tmp_path):
    done, lost = run(pool, tmp_path, [1, 100, -1, 2, 3], [5, 4, 3, 2, 1])
    assert done == {1: 2, 2: 4, 3: 6}
    reasons = dict(lost)
    assert reasons[-1] == "given up after 3 attempts: item -1 is negative"
    assert reasons[100].startswith("given up after 3 attempts: the process that worked on it died")
    assert len((tmp_path / "100").read_text().split()) == len(set((tmp_path / "100").read_text().split())) == 3


def test_a_worker_that_cannot_be_opened_ends_the_run_with_its_own_words(pool):
    with pytest.raises(InputError, match=r"^no such model; give another$"):
        list(pool.map(refuses_to_open, [1], [1]))


def test_an_actor_without_the_folder_says_so(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_token", tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"is another folder on .*; share its storage"):
        pool.call(time.time)


def test_where_memory_runs_out_fewer_actors_go_on(monkeypatch):
    """Ray's memory monitor would end the one that takes a lost one's place, too."""
    import ray

    monkeypatch.setattr(ray, "kill", lambda handle: None)
    run = Run(lambda: 3, lambda: (None, None), range(9), [1] * 9)
    for error, expected in (
        (ray.exceptions.RayActorError(), 3),
        (ray.exceptions.OutOfMemoryError("full"), 2),
        (ray.exceptions.RayActorError(), 2),
        (ray.exceptions.OutOfMemoryError("full"), 1),
        (ray.exceptions.OutOfMemoryError("full"), 1),
    ):
        run.hire()
        run._actors[0].is_open = True
        run._note_failure(run._actors[0], error)
        run.hire()
        assert len(run._actors) == expected
