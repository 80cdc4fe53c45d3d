"""The gateway, the operators and the handsets."""

from __future__ import annotations

import json
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import msgspec
import pytest

from fewseconds import contracts as c
from fixtures import consumers
from mock_psp import templates
from mock_psp.message_log import log_entries
from mock_psp.serve import Services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import World

PHONE = "+910512345678"


def message(**changes: str) -> dict[str, str]:
    """A message that the gateway lets through."""
    return {
        "to": PHONE,
        "sender": templates.SENDER,
        "entity_id": templates.ENTITY_ID,
        "template_id": templates.RECEIPT,
        "text": "BEST: Rs.10.00 received for consumer 2000000000, bill 26110000000000. "
        "Receipt R1. UPI ref 1. Thank you.",
        "reference": "one",
        **changes,
    }


class ReportTaker:
    """A small server that keeps delivery reports, after it has refused the first ones."""

    def __init__(self, refusals: int) -> None:
        """Listen on a free port."""
        self.reports: queue.Queue[dict[str, str]] = queue.Queue()
        self.refusals = refusals
        taker = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                refused = taker.refusals > 0
                taker.refusals -= refused
                self.send_response(503 if refused else 204)
                self.end_headers()
                if not refused:
                    taker.reports.put(json.loads(body))

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/reports"

    def __enter__(self) -> Self:
        """Serve."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def send(world: World, **changes: str) -> tuple[int, dict[str, str]]:
    """Send it."""
    reply = world.ask("POST", "sms", c.SMS_SEND, msgspec.json.encode(message(**changes)))
    return reply.status, reply.body


def inbox(world: World, query: str, token: str | None = None) -> tuple[int, dict[str, list[str]]]:
    """Look into the handset."""
    token = world.secrets.token if token is None else token
    reply = world.ask("GET", "sms", f"{c.INBOX}/{PHONE}?{query}", fewseconds_token=token)
    return reply.status, reply.body


def test_a_reference_is_one_message_however_often_it_is_sent(world: World) -> None:
    """Copies get the same message id, and the handset gets one message."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(world, reference="often"), range(8)))
    assert {status for status, _ in answers} == {202}
    assert len({body["message_id"] for _, body in answers}) == 1
    _, found = inbox(world, "reference=often&wait_ms=5000")
    assert len(found["messages"]) == 1


def test_a_number_that_cannot_be_dialled_is_refused(world: World) -> None:
    """A number of five digits is answered with the code that gateways have for it."""
    status, body = send(world, to="12345")
    assert (status, body["code"]) == (422, "23010")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"entity_id": "0"}, "600"),
        ({"sender": "BESTMU"}, "620"),
        ({"sender": "BESTMU-P"}, "620"),
        ({"template_id": "0"}, "630"),
        ({"text": "Win a prize"}, "23082"),
        ({"text": message()["text"].replace("Rs.10.00", "Rs." + "9" * 41)}, "23082"),
    ],
)
def test_a_message_that_is_not_registered_is_accepted_and_never_arrives(
    world: World, changes: dict[str, str], code: str
) -> None:
    """Entity, header, template and text are scrubbed silently; the gateway's log alone says why."""
    reference = f"scrubbed {code} {changes}"
    status, body = send(world, reference=reference, **changes)
    assert status == 202
    assert inbox(world, f"reference={quote(reference)}")[1]["messages"] == []
    assert world.ask("GET", "sms", f"{c.SMS_SEND}/{body['message_id']}").body["state"] == "ACCEPTD"
    logged = [
        one for one in log_entries(world.services.folder.messages) if one.reference == reference
    ]
    assert [(one.entry, one.code) for one in logged] == [("accepted", ""), ("scrubbed", code)]


def test_a_report_says_that_a_message_arrived(world: World) -> None:
    """Who gives an address hears of the delivery; a first refusal is no reason to give up."""
    with ReportTaker(refusals=1) as taker:
        status, body = send(world, reference="reported", report_url=taker.url)
        assert status == 202
        report = taker.reports.get(timeout=20)
    assert report["message_id"] == body["message_id"]
    assert (report["reference"], report["state"], report["code"]) == ("reported", "DELIVRD", "")
    assert world.ask("GET", "sms", f"{c.SMS_SEND}/{body['message_id']}").body["state"] == "DELIVRD"


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/", "file:///etc/passwd", "http://localhost.example/",
        "http://a@127.0.0.1/", "http://127.0.0.1:x/", "//127.0.0.1/", "http://[::1", "http://0/",
        "http://2130706433/",
    ],
)  # fmt: skip
def test_reports_go_to_this_machine_alone(world: World, url: str) -> None:
    """An address elsewhere, or one that could be read in two ways, is refused."""
    assert send(world, reference="elsewhere", report_url=url)[0] == 400


def test_too_many_messages_a_second_are_told_so(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """The second message within a minute is answered with 429, and was not taken."""
    limit = {"per_s": 1 / 60, "code": "429", "source": "a test"}
    scenario = quick({"stations": {"sms_gateway": {"rate_limit": limit}}})
    with Services(scenario, 7, tmp_path, only=("sms",)) as services:
        limited = enter(services)
        assert [send(limited, reference=name)[0] for name in ("one", "two")] == [202, 429]


def test_an_unknown_message_has_no_state(world: World) -> None:
    """Nobody learns anything about a message that was never accepted."""
    assert world.ask("GET", "sms", f"{c.SMS_SEND}/SMS999999999").status == 404


@pytest.mark.parametrize("token", ["", "guess"])
def test_an_inbox_needs_the_token(world: World, token: str) -> None:
    """Nobody reads a handset without the run's token."""
    assert inbox(world, "reference=often", token)[0] == 401


@pytest.mark.parametrize("wait", ["-1", "30001", "soon"])
def test_a_wait_has_a_limit(world: World, wait: str) -> None:
    """A long poll of more than 30 s, or of no length at all, is refused."""
    assert inbox(world, f"wait_ms={wait}")[0] == 400


def test_whoever_waits_is_woken_by_the_message(world: World) -> None:
    """A poll that began before the message was sent returns it."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(inbox, world, "reference=later&wait_ms=20000")
        send(world, reference="later")
        _, found = waiting.result()
    assert len(found["messages"]) == 1


def test_an_undelivered_message_never_arrives(world: World) -> None:
    """The gateway accepts what the operator then loses; the payment is not affected."""
    paid = world.pay(400, operator="vi").body
    assert paid["status"] == "SUCCESS"
    assert world.inbox(400, paid["transaction_id"], wait_ms=700) == []
    phone = consumers.consumer(world.seed, 400).phone
    assert phone.startswith("+9105")
