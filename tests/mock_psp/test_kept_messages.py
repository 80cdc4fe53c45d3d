"""No SMS that somebody was told is on its way gets lost, whoever is killed or away."""

from __future__ import annotations

import os
import signal
import stat
from collections import Counter
from typing import TYPE_CHECKING

from fewseconds import contracts as c
from mock_psp import auditor, kept_messages, templates
from mock_psp.kept_messages import Kept, KeptMessages
from mock_psp.message_log import log_entries
from mock_psp.serve import Services
from tests.mock_psp.scenarios import constant, quick_scenario
from tests.mock_psp.test_sms import ReportTaker, message, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.mock_psp.conftest import World

CHOSEN = ("psp", "biller", "sms")


def broken(folder: Path) -> list[tuple[str, tuple[str, ...]]]:
    """The rules that an audit of a run calls broken."""
    return [(one.name, one.first) for one in auditor.audit(folder).checks if not one.passed]


def test_a_killed_gateway_goes_on_with_what_it_had_accepted(
    enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Killed before the operator has delivered, it delivers and reports once after its restart."""
    slow = {"service_time": constant(700), "failures": []}
    operator = slow | {"variants": dict.fromkeys(("jio", "airtel", "vi", "bsnl"), slow)}
    scenario = quick_scenario({"stations": {"operator": operator}})
    with ReportTaker(refusals=0) as taker, Services(scenario, 7, tmp_path, only=CHOSEN) as services:
        world = enter(services)
        name = world.pay(20).body["transaction_id"]
        world.until(lambda: name in services.folder.messages.read_text("utf-8"))
        _, body = send(world, reference="alone", report_url=taker.url)
        assert {one.entry for one in log_entries(services.folder.messages)} == {"accepted"}
        services.kill("sms")
        services.restart("sms")
        assert [one["reference"] for one in world.inbox(20, name)] == [name]
        assert taker.reports.get(timeout=20)["message_id"] == body["message_id"]
        # What is on its way when the service is told to stop is said to be so.
        send(world, reference="late")
        texts = services.folder.texts
        assert stat.S_IMODE(texts.stat().st_mode) == 0o600
        assert b"late" in texts.read_bytes()
        os.kill(services.pid("sms"), signal.SIGTERM)
        world.until(lambda: "stopped" in services.folder.messages.read_text("utf-8"))
    told = {one.reference: one.entry for one in log_entries(tmp_path / "messages.jsonl")}
    assert told == {name: "delivered", "alone": "delivered", "late": "stopped"}
    # The two that no payment is behind are the only strangers.
    assert {text for _, first in broken(tmp_path) for text in first} == {
        "alone: SMS for no posted payment", "late: SMS for no posted payment",
    }  # fmt: skip


def test_a_reference_stays_the_one_of_its_message_over_a_kill(
    enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """A copy is answered as before; another text, number or header with it is a conflict (I8)."""
    with Services(quick_scenario(), 7, tmp_path, only=("sms",)) as services:
        world = enter(services)
        first = send(world, reference="mine")
        assert first[0] == 202
        wording = message()["text"]
        others = [
            {"text": wording.replace("Rs.10.00", "Rs.11.00")}, {"to": "+910512345679"},
            {"sender": "BESTMU"}, {"entity_id": "0"}, {"template_id": "0"},
        ]  # fmt: skip
        for _ in range(2):
            assert send(world, reference="mine") == first
            # Where its report goes is not a part of it.
            assert send(world, reference="mine", report_url="http://127.0.0.1:9/") == first
            for changes in others:
                status, told = send(world, reference="mine", **changes)
                assert (changes, status, told["title"]) == (changes, 409, "Conflict")
            services.kill("sms")
            services.restart("sms")
        world.until(lambda: "delivered" in services.folder.messages.read_text("utf-8"))
    entries = Counter(one.entry for one in log_entries(tmp_path / "messages.jsonl"))
    assert entries == {"accepted": 1, "delivered": 1, "duplicate": 4, "conflict": 10}


def test_an_sms_is_sent_when_the_gateway_is_back_however_long_it_was_away(
    enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """The journey's three attempts are used up; the message goes out all the same, and once."""
    scenario = quick_scenario({"steps": {"sms": {"backoff_ms": [50]}}})
    assert scenario.steps["sms"].attempts_max == 3
    with Services(scenario, 7, tmp_path, only=CHOSEN) as services:
        world = enter(services)
        services.kill("sms")
        name = world.pay(20).body["transaction_id"]
        log = services.folder.logs / "biller.log"
        world.until(lambda: "is unsent" in log.read_text("utf-8"))
        services.restart("sms")
        assert [one["reference"] for one in world.inbox(20, name, wait_ms=20_000)] == [name]
    assert broken(tmp_path) == []


def test_the_file_of_messages_holds_what_is_on_its_way_and_little_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written anew when it has grown, and read again it has the same messages, in order."""
    monkeypatch.setattr(kept_messages, "ROOM_BYTES", 4000)
    path = tmp_path / "messages.private"
    kept = KeptMessages(path, {})
    for number in range(1000):
        kept.keep(_kept(number))
        if number % 100:
            kept.over(f"SMS{number:09d}")
        assert path.stat().st_size < 3 * 4000 + 500
    on_their_way = kept.on_their_way()
    assert on_their_way == [_kept(number) for number in range(0, 1000, 100)]
    kept.close()
    with path.open("ab") as file:
        file.write(b'{"message_id":"SMS')
    # One that the log knows nothing of was never accepted, and one that had another name neither.
    left = {one.message_id: one.request.reference for one in on_their_way[2:]}
    left["SMS000000200"] = "another"
    again = KeptMessages(path, left)
    assert again.on_their_way() == on_their_way[3:]
    again.close()


def _kept(number: int) -> Kept:
    told = message(reference=f"r{number}", template_id=templates.RECEIPT)
    return Kept(f"SMS{number:09d}", c.SmsRequest(**told), door="http")
