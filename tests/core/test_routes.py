"""A route is known by its inbox, then by its name; its key stays whatever it is called."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.routes import keys_of, named, names_of
from tests.sample_jobs import sample_job

A, B, C = "/srv/a", "/srv/b", "/srv/c"


@pytest.mark.parametrize(
    ("wanted", "remembered", "keys"),
    [
        pytest.param({"leads": A}, {}, {"leads": "leads"}, id="new"),
        pytest.param({"leads": A}, {"current": {"leads": A}}, {"leads": "leads"}, id="as before"),
        pytest.param({"customers": A}, {"current": {"leads": A}}, {"customers": "leads"}, id="renamed"),
        pytest.param({"a": B, "b": A}, {"current": {"a": A, "b": B}}, {"a": "b", "b": "a"}, id="swapped"),
        pytest.param({"b": A, "c": B}, {"current": {"a": A, "b": B}}, {"b": "a", "c": "b"}, id="shifted"),
        pytest.param({"b": A}, {"current": {"a": A, "b": B}}, {"b": "a"}, id="name taken over"),
        pytest.param({"b": C}, {"current": {"a": A}, "names": {"a": "b"}}, {"b": "a"}, id="inbox moved"),
        pytest.param({"b": A, "c": C}, {"current": {"a": A}, "names": {"a": "c"}}, {"b": "a", "c": "c"}, id="split"),
        pytest.param({"a": C, "b": A}, {"current": {"a": A}}, {"b": "a", "a": "a-2"}, id="old name, new inbox"),
        pytest.param({"b": A}, {"known": {A: "a"}}, {"b": "a"}, id="back after it was removed"),
        pytest.param(
            {"b": A, "a": C}, {"current": {"a": C}, "known": {A: "a", C: "a"}}, {"a": "a", "b": "b"}, id="left inbox"
        ),
    ],
)
def test_the_inbox_says_which_route_it_is_then_the_name(
    wanted: dict[str, str], remembered: dict[str, Any], keys: dict[str, str]
) -> None:
    current, known, names = (remembered.get(key, {}) for key in ("current", "known", "names"))
    assert keys_of(wanted, current, known, names) == keys


few = st.sampled_from(["a", "b", "c", "a-2", "b-removed"])
inboxes = st.sampled_from([A, B, C, "/srv/d"])


@given(
    st.dictionaries(few, inboxes, max_size=4).filter(lambda found: len({*found.values()}) == len(found)),
    st.dictionaries(few, inboxes),
    st.dictionaries(inboxes, few),
    st.dictionaries(few, few),
)
def test_every_route_has_one_key_and_every_key_one_name(
    wanted: dict[str, str], current: dict[str, str], known: dict[str, str], names: dict[str, str]
) -> None:
    keys = keys_of(wanted, current, known, names)
    assert keys.keys() == wanted.keys()
    assert len({*keys.values()}) == len(keys)
    called = names_of(keys, names)
    assert {key: called[key] for key in keys.values()} == {key: name for name, key in keys.items()}
    assert called.keys() == {*keys.values(), *names}
    assert len({*called.values()}) == len(called)
    assert keys_of(wanted, {keys[name]: inbox for name, inbox in wanted.items()}, known, called) == keys


def test_a_key_that_lost_its_name_says_that_it_was_removed() -> None:
    assert names_of({"b": "a"}, {"a": "a", "b": "b"}) == {"a": "b", "b": "b-removed"}
    assert names_of({"c": "c"}, {"a": "x", "b": "x"}) == {"c": "c", "a": "x", "b": "x-removed"}


def test_people_see_the_name() -> None:
    job = sample_job("aaaa1111", state=State.DONE)
    assert named(job, {"leads": "customers"}).route == "customers"
    assert named(job, {}) is job
