"""Choosing a few of many."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def evenly_spaced(items: Sequence[Item], limit: int) -> list[Item]:
    """``limit`` of the items, spread evenly from the first on; all of them if there are no more than ``limit``."""
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]
