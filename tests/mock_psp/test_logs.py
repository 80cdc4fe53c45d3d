"""What services say about themselves can be read by machines and is about nobody."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import consumers
from mock_psp.logs import JsonLines, masked

if TYPE_CHECKING:
    from tests.mock_psp.conftest import World


@pytest.fixture
def said() -> io.StringIO:
    """What a logger that is ours alone has written."""
    return io.StringIO()


@pytest.fixture
def log(said: io.StringIO) -> logging.Logger:
    """That logger."""
    handler = logging.StreamHandler(said)
    handler.setFormatter(JsonLines("biller.2"))
    made = logging.getLogger("mock_psp.test")
    made.propagate = False
    made.handlers.clear()
    made.addHandler(handler)
    return made


def test_a_line_holds_when_who_what_and_the_fields(log: logging.Logger, said: io.StringIO) -> None:
    """Each call is one line of JSON with its own fields beside those of every line."""
    log.warning("a refund was not accepted", extra={"status": 503, "reason": "busy\nvery"})
    line = json.loads(said.getvalue())
    assert said.getvalue().count("\n") == 1
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "warning", "service": "biller.2", "logger": "mock_psp.test",
        "event": "a refund was not accepted", "status": 503, "reason": "busy\nvery",
    }  # fmt: skip


def test_a_traceback_is_a_field_without_personal_data(
    log: logging.Logger, said: io.StringIO
) -> None:
    """An exception about a person does not tell who it is."""
    try:
        raise ValueError("payer ravi@okaxis, phone +915550012345")
    except ValueError:
        log.exception("a request failed")
    line = json.loads(said.getvalue())
    assert "ValueError: payer …@…, phone +91…" in line["trace"]


@given(st.integers(0, 1_049_999))
def test_no_consumer_is_told_in_a_message(index: int) -> None:
    """Neither phone nor consumer number nor address of anybody passes, wherever it stands."""
    person = consumers.consumer(7, index)
    number, phone = consumers.consumer_number(index), person.phone
    told = masked(f"{phone} ({phone.removeprefix('+91')}), {number}: x.{index}@bank={number}!")
    assert not {phone, phone.removeprefix("+91"), number, f"x.{index}@bank"} & set(told.split())
    assert number not in told
    assert phone.removeprefix("+91") not in told


def test_identifiers_are_left_whole() -> None:
    """What names a payment, a message or a moment is what a log is read for."""
    kept = "FWS12345678901234567890123456789012 at 1763860000.123456 evt_9 http_503 in 1200 ms"
    assert masked(kept) == kept


def test_services_log_their_life_in_lines_of_json(world: World) -> None:
    """Each running service has said that it serves, and all it said can be parsed."""
    for service in ("psp", "biller", "sms", "portal"):
        text = (world.services.folder.logs / f"{service}.log").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert {line["service"].partition(".")[0] for line in lines} == {service}
        assert "serving" in {line["event"] for line in lines}
