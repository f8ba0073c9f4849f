import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.shards import ALL, WorkShard, parse_shard, slurm_shard


def slurm(task, first, last, step, count):
    names = ("ID", "MIN", "MAX", "STEP", "COUNT")
    return {
        f"SLURM_ARRAY_TASK_{key}": str(value)
        for key, value in zip(names, (task, first, last, step, count), strict=True)
    }


@pytest.mark.parametrize("count", [1, 3, 7, 20])
def test_shards_are_disjoint_and_together_all_of_the_work(count):
    work = list(range(17))
    parts = [WorkShard(index, count).of(work) for index in range(count)]
    assert sorted(item for part in parts for item in part) == work
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert ALL.of(work) == work


def test_a_shard_is_written_as_it_is_read():
    assert parse_shard("2/7") == WorkShard(2, 7)
    assert str(parse_shard("2/7")) == "2/7"


@pytest.mark.parametrize("text", ["", "7", "1/", "-1/3", "1/3/5", "a/b", "1.0/3", "²/3", "0/0"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="`shard"):
        parse_shard(text)


def test_counting_from_1_is_explained():
    with pytest.raises(InputError, match="`shard=7/7`: shards are counted from 0, so the last of 7 is 6/7"):
        parse_shard("7/7")


@pytest.mark.parametrize(("first", "step"), [(0, 1), (1, 1), (0, 4), (1, 3)])
def test_the_tasks_of_a_slurm_array_are_its_shards(first, step):
    """--array=0-6, 1-7, 0-24:4 and 1-19:3, and a last task that the step does not reach."""
    last = first + 6 * step
    for end in {last, last + step - 1}:
        found = [slurm_shard(slurm(task, first, end, step, 7)) for task in range(first, last + 1, step)]
        assert found == [WorkShard(index, 7) for index in range(7)]


def test_outside_of_an_array_there_is_no_shard():
    assert slurm_shard({"SLURM_JOB_ID": "17"}) is None


@pytest.mark.parametrize("name", ["ID", "MIN", "MAX", "STEP", "COUNT"])
def test_a_missing_variable_is_named(name):
    environment = slurm(2, 0, 6, 1, 7)
    del environment[f"SLURM_ARRAY_TASK_{name}"]
    with pytest.raises(InputError, match=f"^SLURM_ARRAY_TASK_{name} is not set"):
        slurm_shard(environment)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((3, 1, 7, 1, 3), "without gaps"),  # --array=1,3,7
        ((8, 0, 6, 1, 7), "without gaps"),
        ((3, 0, 6, 2, 4), "without gaps"),
        ((0, 0, 6, 0, 7), "without gaps"),
        ((3, 3, 3, 1, 1), "begins with task 3 may be a part of a larger one"),  # --array=3
        (("x", 0, 6, 1, 7), "not a whole number"),
    ],
)
def test_variables_that_make_no_sense_together_are_refused(values, message):
    with pytest.raises(InputError, match=message) as raised:
        slurm_shard(slurm(*values))
    assert "give `shard=i/n`, or `shard=0/1` for all of the work" in str(raised.value)
