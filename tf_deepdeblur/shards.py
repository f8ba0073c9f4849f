"""One part of work that several machines share without talking to each other."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from tf_deepdeblur.errors import InputError

Item = TypeVar("Item")
_SLURM = ("ID", "MIN", "MAX", "STEP", "COUNT")
_HINT = "give `shard=i/n`, or `shard=0/1` for all of the work"


class WorkShard(NamedTuple):
    """Part ``index`` of ``count``, counted from 0; by default all of the work."""

    index: int = 0
    count: int = 1

    def of(self, work: Sequence[Item]) -> list[Item]:
        """Every ``count``-th item, from ``index`` on.

        It depends on nothing but ``work``: machines that list the same work in the same order take disjoint parts that
        together are all of it, whatever was done already.
        """
        return list(work[self.index :: self.count])

    def __str__(self):
        return f"{self.index}/{self.count}"


ALL = WorkShard()


def parse_shard(text: str) -> WorkShard:
    """The shard that "i/n" names.

    Raises:
        InputError: if it is not two whole numbers with i from 0 to n - 1.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if not match:
        raise InputError(f"`shard` must be i/n like 0/7, got {text!r}")
    shard = WorkShard(int(match[1]), int(match[2]))
    if shard.index >= shard.count:
        last = f", so the last of {shard.count} is {shard.count - 1}/{shard.count}" if shard.count else ""
        raise InputError(f"`shard={text}`: shards are counted from 0{last}")
    return shard


def slurm_shard(environment: Mapping[str, str]) -> WorkShard | None:
    """The shard of a task of a Slurm array; None outside of arrays.

    Task IDs may begin with 0 or 1 and have any step: ``--array=0-6``, ``1-7`` and ``0-12:2`` are seven shards each.

    Args:
        environment: such as ``os.environ``; SLURM_ARRAY_TASK_ID, _MIN, _MAX, _STEP and _COUNT are read.

    Raises:
        InputError: if some of them are missing, or do not describe such an array with this task in it. Part of an array
            that is submitted again looks so: its tasks would divide the work in another way.
    """
    names = {key: f"SLURM_ARRAY_TASK_{key}" for key in _SLURM}
    missing = [name for name in names.values() if name not in environment]
    if len(missing) == len(names):
        return None
    if missing:
        raise InputError(f"{missing[0]} is not set, though others of a Slurm array are: {_HINT}")
    try:
        task, first, last, step, count = (int(environment[name]) for name in names.values())
    except ValueError as error:
        raise InputError(f"SLURM_ARRAY_TASK_*: not a whole number ({error}); {_HINT}") from error
    given = ", ".join(f"{key} {environment[name]}" for key, name in names.items())
    if step < 1 or not first <= task <= last or (task - first) % step or (last - first) // step + 1 != count:
        raise InputError(f"SLURM_ARRAY_TASK_*: not an array without gaps ({given}); {_HINT}")
    if first > 1:
        raise InputError(
            f"SLURM_ARRAY_TASK_*: an array that begins with task {first} may be a part of a larger one, done again; "
            f"{_HINT}"
        )
    return WorkShard((task - first) // step, count)
