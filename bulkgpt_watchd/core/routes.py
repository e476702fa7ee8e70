"""
Tell which route is which.

A route is known by a key that never changes, so that its jobs, its pause and its holds need not follow when it gets
another name. The key is the first name that the route had; people never see it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from bulkgpt_watchd.core.job import Job

EVERY_ROUTE = "*"
"""Stands for all routes together, in pauses and budgets; no route can be called so."""


def keys_of(
    wanted: Mapping[str, str], current: Mapping[str, str], known: Mapping[str, str], names: Mapping[str, str]
) -> dict[str, str]:
    """
    Find the key of each configured route: that of its inbox, else that of its name, else a new one.

    Shape: *wanted* maps names to inboxes, *current* keys to the inboxes that they have now, *known* every inbox that
        was ever opened to its key, *names* keys to the names that they had last. Gives names to keys, each key once.
    """
    keys: dict[str, str] = {}

    def give(candidates: Callable[[str], Iterable[str]]) -> None:
        for name in wanted:
            key = next((key for key in candidates(name) if key not in keys.values()), None)
            if name not in keys and key is not None:
                keys[name] = key

    give(lambda name: [key for key, inbox in current.items() if inbox == wanted[name]])
    give(lambda name: [key for inbox, key in known.items() if inbox == wanted[name]])
    give(lambda name: [key for key, last in names.items() if last == name])
    taken = {*current, *known.values(), *names}
    give(lambda name: (key for key in _new_keys(name) if key not in taken))
    return keys


def names_of(keys: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """
    Give the name of every key; one that lost its name to another route gets one that is not taken.

    Shape: *keys* is what `keys_of` gave, *names* the names that all keys had last.
    """
    result = {key: name for name, key in keys.items()}
    for key in sorted(names.keys() - result.keys()):
        name = names[key]
        while name in result.values():
            name += "-removed"
        result[key] = name
    return result


def named(job: Job, names: Mapping[str, str]) -> Job:
    """Give a job for a person: with the name of its route in place of the key."""
    name = names.get(job.route, job.route)
    return job if name == job.route else replace(job, route=name)


def _new_keys(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))
