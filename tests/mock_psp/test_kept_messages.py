"""No SMS that somebody was told is on its way gets lost, whoever is killed or away."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from fewseconds import contracts as c
from mock_psp import auditor, kept_messages, reports, templates
from mock_psp.kept_messages import Kept, KeptMessages, kept_before
from mock_psp.message_log import log_entries
from mock_psp.serve import Services
from tests.mock_psp.scenarios import constant, quick_scenario
from tests.mock_psp.test_sms import ReportTaker, message, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mock_psp.message_log import LogEntry
    from mock_psp.spec import Folder
    from tests.mock_psp.conftest import World

CHOSEN = ("psp", "biller", "sms")
STATES = {"delivered": "DELIVRD", "undelivered": "UNDELIV"}
LOST = {"outcome": "timed_out", "code": "undelivered", "share": 1.0, "source": "a test"}
LOSSY = {"stations": {"operator": {"variants": {"vi": {"failures": [LOST]}}}}}
"""The operator ``vi`` loses every message."""


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
        world.until(lambda: "reported" in services.folder.messages.read_text("utf-8"))
        # What is on its way when the service is told to stop is said to be so.
        send(world, reference="late")
        texts = services.folder.texts
        assert stat.S_IMODE(texts.stat().st_mode) == 0o600
        assert b"late" in texts.read_bytes()
        os.kill(services.pid("sms"), signal.SIGTERM)
        world.until(lambda: "stopped" in services.folder.messages.read_text("utf-8"))
    told = {one.reference: one.entry for one in log_entries(tmp_path / "messages.jsonl")}
    assert told == {name: "delivered", "alone": "reported", "late": "stopped"}
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


def noted(folder: Folder, *kinds: str) -> dict[str, LogEntry]:
    """Message → its entry of one of these kinds."""
    return {one.message_id: one for one in log_entries(folder.messages) if one.entry in kinds}


def handset(world: World, phone: str) -> list[dict[str, str]]:
    """Everything on a handset."""
    path, token = f"{c.INBOX}/{phone}", world.secrets.token
    found: list[dict[str, str]] = world.ask("GET", "sms", path, fewseconds_token=token).body[
        "messages"
    ]
    return found


def test_a_killed_gateway_has_its_inboxes_and_owes_its_reports(
    enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Handsets hold what they held; a report that nobody had taken comes, and then never again."""
    phones = [f"+9105123{number:05d}" for number in range(20)]
    lossy = quick_scenario(LOSSY)
    with (
        ReportTaker(refusals=10**9) as taker,
        Services(lossy, 7, tmp_path, only=("sms",)) as services,
    ):
        world, folder = enter(services), services.folder

        def held() -> dict[str, list[dict[str, str]]]:
            return {phone: handset(world, phone) for phone in phones}

        for phone in phones:
            assert send(world, to=phone, reference=phone[-5:], report_url=taker.url)[0] == 202
        world.until(lambda: len(noted(folder, *STATES)) == len(phones))
        before = held()
        services.kill("sms")
        assert taker.reports.empty()
        taker.refusals = 0
        services.restart("sms")
        assert held() == before
        told: dict[str, dict[str, str]] = {}
        while len(told) < len(phones):
            report = taker.reports.get(timeout=20)
            told[report["message_id"]] = report
        ended = noted(folder, *STATES)
        assert {one.entry for one in ended.values()} == set(STATES)
        assert {name: (one["state"], one["code"]) for name, one in told.items()} == {
            name: (STATES[one.entry], one.code) for name, one in ended.items()
        }
        world.until(lambda: len(noted(folder, "reported")) == len(phones))
        services.kill("sms")
        while not taker.reports.empty():
            taker.reports.get()
        services.restart("sms")
        assert held() == before
        _, body = send(world, reference="last", report_url=taker.url)
        assert taker.reports.get(timeout=20)["message_id"] == body["message_id"]
        # Who asks is answered what who takes reports was told.
        asked = [world.ask("GET", "sms", f"{c.SMS_SEND}/{name}").body["state"] for name in told]
        assert asked == [one["state"] for one in told.values()]
    arrived = sum(one.entry == "delivered" for one in ended.values())
    assert sum(map(len, before.values())) == arrived


@pytest.mark.parametrize(("refusals", "settled"), [(1, "reported"), (2, "unreported")])
def test_a_report_is_owed_until_it_is_taken_or_given_up(
    monkeypatch: pytest.MonkeyPatch, refusals: int, settled: str
) -> None:
    """Two tries: taken at the second it is settled as told, refused twice it is given up."""
    monkeypatch.setattr(reports, "WAITS_S", (0, 0))
    found: list[str] = []

    async def told(url: str) -> None:
        sender = reports.Reports()
        sender.start()
        await sender.listener(url)(c.SmsReport("SMS1", "one", "DELIVRD", "", 1), found.append)
        await sender.stop()

    with ReportTaker(refusals) as taker:
        asyncio.run(told(taker.url))
    assert found == [settled]


def test_the_files_of_messages_hold_the_latest_and_what_has_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not grow, and whenever they are read they have both, in the order of acceptance."""
    monkeypatch.setattr(kept_messages, "ROOM_BYTES", 4000)
    path = tmp_path / "messages.private"
    kept, every = KeptMessages(path), list[Kept]()
    line_bytes = len(_kept(999).request.text) + 400
    for number in range(1000):
        every.append(_kept(number))
        kept.keep(every[-1])
        if number % 100:
            kept.over(every[-1].message_id)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2 * 4000 + 24 * line_bytes
        found = {one.message_id: one for one in kept_before(path)}
        latest = every[-4000 // line_bytes :]
        assert {one.message_id for one in (*latest, *every[::100])} <= set(found)
        assert [one for one in every if one.message_id in found] == list(found.values())
    assert kept.unended() == every[::100]
    kept.close()
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    again = KeptMessages(path, every[::300])
    assert again.unended() == every[::300]
    again.close()


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_kill_while_the_next_file_begins_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    """Killed before either renaming, the gateway finds what has not ended, now and ever after."""
    monkeypatch.setattr(kept_messages, "ROOM_BYTES", 4000)
    path, left, every = tmp_path / "messages.private", count(), list[Kept]()
    replace = os.replace

    def killed(*names: Any) -> None:  # noqa: ANN401 - whatever os.replace takes
        if next(left) == renamed:
            raise InterruptedError
        replace(*names)

    def until_killed() -> None:
        kept = KeptMessages(path)
        for number in range(1000):
            every.append(_kept(number))
            kept.keep(every[-1])

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(InterruptedError):
            until_killed()
    before = {one.message_id: one for one in kept_before(path)}
    assert list(before.values()) == every
    again = KeptMessages(path, before.values())
    for number in range(len(every), len(every) + 50):
        again.keep(_kept(number))
        again.over(_kept(number).message_id)
        assert {one.message_id for one in every} <= {one.message_id for one in kept_before(path)}
    assert again.unended() == every
    again.close()


def _kept(number: int) -> Kept:
    told = message(reference=f"r{number}", template_id=templates.RECEIPT)
    return Kept(f"SMS{number:09d}", c.SmsRequest(**told), door="http")
