"""Calls are measured and classed, and all is written in Prometheus' format."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from bulkgpt_watchd.adapters.metrics import CODES, Meter, MeteredApi, code_of
from bulkgpt_watchd.core.errors import (
    Denied,
    DiskTrouble,
    LinkBroken,
    NotOurTurn,
    OutcomeUnknown,
    Refused,
    ReplyNotUnderstood,
    SourceChanged,
    TaskNotKnown,
    Unavailable,
)
from bulkgpt_watchd.core.figures import Sample
from bulkgpt_watchd.core.ports import Upload
from tests.fakes import FakeApi, FakeClock, SubmitFault

CSV = b"Input_1\n1\n"


def value(meter: Meter, name: str, **labels: str) -> float | None:
    return meter.registry.get_sample_value(f"bulkgpt_watchd_{name}", labels)


def upload() -> Upload:
    blocks = [CSV, b""]

    async def read(_size: int) -> bytes:
        return blocks.pop(0)

    return Upload("w", len(CSV), hashlib.sha256(CSV).hexdigest(), read)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bulkgpt(clock: FakeClock) -> FakeApi:
    return FakeApi(clock)


@pytest.fixture
def meter(clock: FakeClock) -> Meter:
    return Meter(clock.now)


@pytest.fixture
def api(bulkgpt: FakeApi, meter: Meter, clock: FakeClock) -> MeteredApi:
    return MeteredApi(bulkgpt, meter, clock)


async def pass_at_once() -> None:
    return None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, "2xx"),
        (Denied("", http_status=401), "401"),
        (Denied("", http_status=402), "402"),
        (Denied("", http_status=302), "3xx"),
        (Denied("", http_status=404), "4xx"),
        (Denied("", http_status=200), "refused"),
        (Refused("rejected", "", http_status=200), "refused"),
        (Refused("rejected", "", http_status=422), "4xx"),
        (Refused("too_large", "", http_status=413), "413"),
        (Refused("duplicate", ""), None),
        (Unavailable("", http_status=429), "429"),
        (Unavailable("", http_status=503), "5xx"),
        (Unavailable(""), "unreachable"),
        (OutcomeUnknown("", http_status=502), "5xx"),
        (OutcomeUnknown("", http_status=200), "unreadable"),
        (OutcomeUnknown("", http_status=999), "other"),
        (OutcomeUnknown(""), "unanswered"),
        (ReplyNotUnderstood(""), "unreadable"),
        (TaskNotKnown(""), "unknown_task"),
        (LinkBroken(""), "broken_link"),
        (NotOurTurn(""), None),
        (SourceChanged(""), None),
        (DiskTrouble(""), None),
        (asyncio.CancelledError(), None),
        (RuntimeError(), None),
    ],
)
def test_each_end_of_a_call_has_its_class(error: BaseException | None, code: str | None) -> None:
    assert code_of(error) == code
    assert code is None or code in CODES


@pytest.mark.parametrize("status", range(0, 1100, 7))
def test_no_code_of_http_makes_a_class_of_its_own(status: int) -> None:
    assert code_of(OutcomeUnknown("", http_status=status)) in CODES


async def test_a_submit_is_measured_without_the_wait_for_its_turn(
    api: MeteredApi, meter: Meter, bulkgpt: FakeApi, clock: FakeClock
) -> None:
    async def wait_for_turn() -> None:
        clock.advance(500.0)

    task_id = await api.submit(upload(), wait_for_turn)

    assert bulkgpt.tasks.keys() == {task_id}
    assert value(meter, "api_requests_total", endpoint="submit", code="2xx") == 1
    assert value(meter, "api_request_duration_seconds_sum", endpoint="submit") == pytest.approx(bulkgpt.submit_s)
    assert value(meter, "api_last_success_timestamp_seconds", endpoint="submit") == clock.now()


async def test_what_went_wrong_is_counted_and_raised(api: MeteredApi, meter: Meter, bulkgpt: FakeApi) -> None:
    bulkgpt.plan(SubmitFault(OutcomeUnknown("HTTP 502", http_status=502)))
    with pytest.raises(OutcomeUnknown):
        await api.submit(upload(), pass_at_once)
    bulkgpt.outage = Unavailable("connection refused")
    with pytest.raises(Unavailable):
        await api.status("t")

    assert value(meter, "api_requests_total", endpoint="submit", code="5xx") == 1
    assert value(meter, "api_requests_total", endpoint="status", code="unreachable") == 1
    assert value(meter, "api_last_success_timestamp_seconds", endpoint="submit") == 0


async def test_a_submit_that_was_held_back_is_no_call(api: MeteredApi, meter: Meter) -> None:
    async def held_back() -> None:
        raise NotOurTurn("paused")

    with pytest.raises(NotOurTurn):
        await api.submit(upload(), held_back)

    assert value(meter, "api_request_duration_seconds_count", endpoint="submit") == 0


async def test_a_download_is_measured_to_its_end(api: MeteredApi, meter: Meter, clock: FakeClock) -> None:
    task_id = await api.submit(upload(), pass_at_once)
    clock.advance(60.0)
    link = (await api.status(task_id)).download_url
    assert link is not None
    async with api.download(link) as answer:
        clock.advance(7.0)
        assert b"".join([block async for block in answer.blocks]).startswith(b"Input_1,")

    assert value(meter, "api_requests_total", endpoint="download", code="2xx") == 1
    assert value(meter, "api_request_duration_seconds_sum", endpoint="download") == pytest.approx(7.5)


async def test_a_broken_link_is_counted(api: MeteredApi, meter: Meter, bulkgpt: FakeApi) -> None:
    bulkgpt.bodies.append(LinkBroken("expired"))
    with pytest.raises(LinkBroken):
        async with api.download("https://results.example/x"):
            pass

    assert value(meter, "api_requests_total", endpoint="download", code="broken_link") == 1


def test_a_commit_that_fails_is_measured_and_told_until_one_works(meter: Meter, clock: FakeClock) -> None:
    def fail() -> None:
        with meter.commit():
            clock.advance(0.2)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert meter.is_writable is False
    with meter.commit():
        clock.advance(0.1)

    assert meter.is_writable is True
    assert value(meter, "state_commit_duration_seconds_sum") == pytest.approx(0.3)


def test_any_name_of_a_route_is_written_as_one_value(meter: Meter) -> None:
    text = meter.render([Sample("route_available", ('a"b\\c\n{}',), 1)]).decode()

    assert 'bulkgpt_watchd_route_available{route="a\\"b\\\\c\\n{}"} 1.0\n' in text


def test_what_was_handed_over_before_is_not_told_again(meter: Meter) -> None:
    meter.render([Sample("route_available", ("gone",), 1)])

    assert b"gone" not in meter.render([])


def test_every_metric_is_told_what_it_means_from_the_start(meter: Meter) -> None:
    lines = meter.render([]).decode().splitlines()

    assert "# TYPE bulkgpt_watchd_jobs gauge" in lines
    assert 'bulkgpt_watchd_api_requests_total{code="401",endpoint="submit"} 0.0' in lines
    assert not [line for line in lines if "_created" in line]
