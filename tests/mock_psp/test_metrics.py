"""What the services count agrees with what they were asked, as Prometheus' own parser reads it."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fewseconds import contracts as c
from mock_psp.metrics import BOUNDS_S, Times

if TYPE_CHECKING:
    from tests.mock_psp.conftest import World

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(world: World, service: str) -> Samples:
    """What a service says now, by name and labels."""
    told = world.ask("GET", service, c.METRICS)
    assert told.status == 200
    assert told.content_type.startswith("text/plain; version=0.0.4")
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(str(told.body))
        for one in family.samples
    }


def growth(before: Samples, after: Samples, name: str, **labels: str) -> float:
    """By how much a total has grown."""
    key = (name, frozenset(labels.items()))
    return after[key] - before.get(key, 0.0)


def test_a_payment_is_counted_by_everybody_whom_it_passes(world: World) -> None:
    """Requests by route and status, visits by outcome, the journal, the ledger and the SMS."""
    before = {name: samples(world, name) for name in ("psp", "biller", "sms")}
    assert world.resolve(301).status == 200
    paid = world.pay(301)
    assert paid.body["status"] == "SUCCESS"
    assert world.ask("GET", "psp", f"{c.PAYMENTS}/unknown").status == 404
    accepted = ("fewseconds_sms_accepted_total", frozenset[tuple[str, str]]())
    had = before["sms"].get(accepted, 0.0)
    world.until(lambda: samples(world, "sms").get(accepted, 0.0) == had + 1)
    after = {name: samples(world, name) for name in ("psp", "biller", "sms")}

    count = "fewseconds_http_request_duration_seconds_count"
    asked = {"method": "POST", "path": c.PAY, "status": "200"}
    assert growth(before["psp"], after["psp"], count, **asked) == 1
    route = c.PAYMENTS + "/{transaction_id}"
    lost = {"method": "GET", "path": route, "status": "404"}
    assert growth(before["psp"], after["psp"], count, **lost) == 1
    visits = "fewseconds_station_visits_total"
    debit = {"station": "remitter_bank", "outcome": "ok"}
    assert growth(before["psp"], after["psp"], visits, **debit) == 1
    assert growth(before["psp"], after["psp"], "fewseconds_payments_debit_total") == 1
    assert growth(before["biller"], after["biller"], "fewseconds_ledger_orders_total") >= 1
    visits_there = {"station": "sms_gateway", "outcome": "ok"}
    assert growth(before["sms"], after["sms"], visits, **visits_there) == 1


@pytest.mark.parametrize("service", ["psp", "biller", "sms", "portal"])
def test_requests_to_nowhere_make_one_series(world: World, service: str) -> None:
    """A caller who invents paths does not invent series; the process tells of itself too."""
    before = samples(world, service)
    for path in ("/nowhere", "/nowhere/else", "/v0/x"):
        assert world.ask("GET", service, path).status == 404
    after = samples(world, service)
    count = "fewseconds_http_request_duration_seconds_count"
    other = {"method": "GET", "path": "other", "status": "404"}
    assert growth(before, after, count, **other) == 3
    assert not any("nowhere" in dict(labels).get("path", "") for _, labels in after)
    assert after["process_resident_memory_bytes", frozenset()] > 1e6
    # The one who asks is being answered.
    assert after["fewseconds_http_requests_in_flight", frozenset()] >= 1


@given(st.lists(st.floats(0, 20)))
def test_buckets_count_as_prometheus_says(times_s: list[float]) -> None:
    """A bucket holds everything up to and with its bound."""
    filled = Times()
    for took_s in times_s:
        filled.add(took_s)
    ordered = sorted(times_s)
    wanted = [bisect_right(ordered, bound) for bound in BOUNDS_S]
    assert [count for _, count in filled.buckets()] == [*wanted, len(times_s)]
    assert filled.sum_s == pytest.approx(sum(times_s))
