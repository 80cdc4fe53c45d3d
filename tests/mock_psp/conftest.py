"""What the tests of the services share: quick scenarios, running services, and a clock to skip."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import selectors
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest
import sqlalchemy as sa

from fewseconds import contracts as c
from fixtures import bills, consumers, qr
from mock_psp import merchant_contract as m
from mock_psp.clock import wall_s
from mock_psp.database import url_of
from mock_psp.journal import entries
from mock_psp.serve import Services
from mock_psp.spec import read_secrets
from tests.mock_psp.databases import ledger_url, postgresql
from tests.mock_psp.merchants import Receiver
from tests.mock_psp.scenarios import moody_scenario, quick_scenario, stubborn_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fewseconds.identity import Bill
    from fewseconds.scenario import Scenario
    from mock_psp.serve import Died
    from mock_psp.spec import Folder

    Eventually = Callable[[Callable[[], bool]], None]

__all__ = ["ledger_url", "postgresql", "quick_scenario"]
SEED = 7
PATIENCE_S = 20


class Reply(NamedTuple):
    """What a service answered."""

    status: int
    body: Any
    content_type: str


@pytest.fixture(scope="session")
def quick() -> Callable[..., Scenario]:
    """The maker of quick scenarios, which takes overrides."""
    return quick_scenario


def ask(method: str, url: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
    """Send one request (bytes go as they are, structs as JSON) and read the whole answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    content = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        sent = {"content-type": "application/json", **(headers or {})}
        connection.request(method, target, content, sent)
        response = connection.getresponse()
        data = response.read()
        kind = response.getheader("content-type", "")
        return Reply(response.status, json.loads(data) if "json" in kind else data.decode(), kind)
    finally:
        connection.close()


class World:
    """Running services, and what a consumer or a payee PSP would send them."""

    def __init__(self, services: Services) -> None:
        """Read the secrets, as only the owner of the files can."""
        self.services, self.seed = services, SEED
        self.secrets = read_secrets(services.spec)

    @staticmethod
    def until(holds: Callable[[], bool]) -> None:
        """Ask again until it holds."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline_s

    def url(self, service: str, path: str) -> str:
        """Where to ask."""
        return self.services.urls[service] + path

    def ask(
        self, method: str, service: str, path: str, body: object = None, **headers: str
    ) -> Reply:
        """Ask a service; header names are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(method, self.url(service, path), body, sent)

    def merchant(self, method: str, path: str, body: object = None) -> Reply:
        """Ask the payment service with the merchant's key."""
        pair = f"{self.secrets.merchant_key_id}:{self.secrets.merchant_key_secret}"
        basic = "Basic " + base64.b64encode(pair.encode()).decode()
        return self.ask(method, "psp", path, body, authorization=basic)

    def code(self, **wanted: object) -> str:
        """Make a code over the merchant's API; the reference that payers pay to."""
        made = self.merchant("POST", m.QR_CODES, {"type": "upi_qr", **wanted}).body
        return str(qr.parse(made["image_content"]).reference)

    @staticmethod
    def bill(index: int) -> Bill:
        """The bill of a consumer."""
        return bills.bill(SEED, index)

    @staticmethod
    def trace(
        index: int, step: str, attempt: int = 1, bank: str = "SBI", operator: str = "jio"
    ) -> str:
        """The trace header of a journey."""
        marks = ("phonepe", bank, "placard", "zxing-cpp", operator)
        return c.Trace("qr_ebill", index, step, -1, attempt, *marks).header()

    def resolve(self, index: int) -> Reply:
        """Scan the bill of a consumer."""
        scanned = qr.bill_uri(SEED, self.bill(index))
        trace = self.trace(index, "resolve")
        return self.ask(
            "POST", "psp", c.RESOLVE, c.ResolveRequest("phonepe", scanned), fewseconds_journey=trace
        )

    def pay(
        self,
        index: int,
        *,
        journey: int | None = None,
        bank: str = "SBI",
        operator: str = "jio",
        attempt: int = 1,
        **changes: object,
    ) -> Reply:
        """Pay the bill of a consumer, as the journey of that or another consumer."""
        bill = self.bill(index)
        whole = {
            "app": "phonepe",
            "payer_vpa": f"payer{journey or index}@examplebank",
            "payer_bank": bank,
            "payee_vpa": qr.PAYEE,
            "bill_number": bill.number,
            "amount_paise": bill.amount_paise,
            "pin": "1234",
            **changes,
        }
        whose = index if journey is None else journey
        trace = self.trace(whose, "pay", attempt, bank, operator)
        body = msgspec.json.encode(whole)
        return self.ask("POST", "psp", c.PAY, body, fewseconds_journey=trace)

    def status(self, transaction_id: str, index: int, attempt: int = 1) -> Reply:
        """Ask what has become of a payment."""
        path, trace = f"{c.PAYMENTS}/{transaction_id}", self.trace(index, "check_status", attempt)
        return self.ask("GET", "psp", path, fewseconds_journey=trace)

    def journal(self, transaction_id: str) -> list[str]:
        """What has happened to a payment."""
        path = self.services.folder.journal
        return [one.entry for one in entries(path) if one.transaction_id == transaction_id]

    def rows(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """What a question finds in the biller's database; its values are written ``:name``."""
        url = url_of(self.secrets.database, self.services.folder)
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement), values)]

    def inbox(self, index: int, reference: str, wait_ms: int = 5000) -> list[dict[str, str]]:
        """The messages about a payment on a consumer's handset."""
        phone = consumers.consumer(SEED, index).phone
        path = f"{c.INBOX}/{phone}?reference={reference}&wait_ms={wait_ms}"
        reply = self.ask("GET", "sms", path, fewseconds_token=self.secrets.token)
        messages: list[dict[str, str]] = reply.body["messages"]
        return messages

    def callback(self, index: int, name: str, **changes: object) -> c.Callback:
        """The callback of a payment of a consumer's bill; ``name`` is its transaction id."""
        bill = self.bill(index)
        whole = {
            "event_id": f"evt_{name}",
            "transaction_id": name,
            "rrn": f"{int.from_bytes(name.encode()[-8:], 'big') % 10**12:012d}",
            "status": "SUCCESS",
            "code": "00",
            "bill_number": bill.number,
            "amount_paise": bill.amount_paise,
            "payer_vpa": "payer@examplebank",
            **changes,
        }
        return msgspec.convert(whole, c.Callback)

    def signed(
        self, body: bytes, event_id: str, timestamp_s: int | None = None, key: bytes | None = None
    ) -> dict[str, str]:
        """The headers of an authentic callback."""
        timestamp_s = wall_s() if timestamp_s is None else timestamp_s
        signature = c.signature(key or self.secrets.keys()[0], event_id, timestamp_s, body)
        return dict(zip(c.SIGNATURE_HEADERS, (event_id, str(timestamp_s), signature), strict=True))

    def call_back(self, callback: c.Callback) -> Reply:
        """Send a callback as the payee PSP does."""
        body = msgspec.json.encode(callback)
        headers = self.signed(body, callback.event_id)
        return ask("POST", self.url("biller", c.BILLER_CALLBACK), body, headers)


@pytest.fixture(scope="session")
def enter() -> Callable[[Services], World]:
    """Wrap running services for a test."""
    return World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Services with quick parties, shared by tests that use consumers of their own."""
    with Services(moody_scenario(), SEED, tmp_path_factory.mktemp("services")) as services:
        yield World(services)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A merchant's server on a port of its own."""
    made = Receiver()
    yield made
    made.close()


class SkippingSelector(selectors.DefaultSelector):
    """Does not wait for the time to pass: it moves the loop's clock."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Skip ahead if nothing is ready now."""
        ready = super().select(0)
        if not ready and timeout is not None:
            self.skipped_s += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time: every sleep is over at once, in the right order."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.skipping = SkippingSelector()
        super().__init__(self.skipping)
        # Timers that are due within the resolution go off together; a microsecond is one place.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds."""
        return self.skipping.skipped_s

    def now_us(self) -> int:
        """Virtual microseconds: the method that tells services the plan's time."""
        return round(self.time() * 1e6)


@pytest.fixture
def virtual_loop() -> Iterator[SkippingLoop]:
    """A loop in virtual time, which also serves as the plan's clock."""
    loop = SkippingLoop()
    yield loop
    loop.close()


class Crashed(NamedTuple):
    """What came of a run in which the biller and the gateway were killed on the way."""

    services: Services
    confirmed: dict[int, str]
    """Consumer → the payment that its screen called successful."""
    died: Died
    """What the watcher said when the gateway was killed."""
    left_unsent: list[str]
    """What arrived for the payment whose SMS could not be sent before the biller was killed."""
    interrupted: list[dict[str, str]]
    """What somebody heard who was waiting for an SMS when the services were stopped."""
    exit_codes: dict[str, int]
    """How the services ended when they were stopped."""

    @property
    def folder(self) -> Folder:
        """Where the run wrote."""
        return self.services.folder


def _pay_until_confirmed(world: World, index: int) -> str:
    """Try again as long as the biller is away; the payment that succeeded."""
    bodies = (world.pay(index, attempt=attempt).body for attempt in count(1))
    confirmed = next(body for body in bodies if body.get("status") == "SUCCESS")
    return str(confirmed["transaction_id"])


def _kill_amid_payments(world: World) -> dict[int, str]:
    """Consumer → payment, of consumers whose biller is killed and started again meanwhile."""
    with ThreadPoolExecutor(6) as pool:
        payments = {
            index: pool.submit(_pay_until_confirmed, world, index) for index in range(300, 330)
        }
        while sum(payment.done() for payment in payments.values()) < 8:
            time.sleep(0.005)
        world.services.kill("biller")
        world.services.restart("biller")
        return {index: payment.result() for index, payment in payments.items()}


def _kill_with_an_unsent_message(world: World, index: int) -> tuple[str, Died]:
    """Post a payment while there is no gateway, then kill the biller, and heal both."""
    services = world.services
    os.kill(services.pid("sms"), signal.SIGKILL)
    while (died := services.poll()) is None:
        time.sleep(0.005)
    name = _pay_until_confirmed(world, index)
    while world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}").status != 200:
        time.sleep(0.005)
    services.kill("biller")
    services.restart("sms")
    services.restart("biller")
    return name, died


def _stop_while_somebody_waits(world: World) -> list[dict[str, str]]:
    """What a long poll hears that is open when the services are told to stop."""
    parts = urlsplit(world.url("sms", f"{c.INBOX}/+910500000000?wait_ms=30000"))
    waiting = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    token = {c.TOKEN_HEADER: world.secrets.token}
    waiting.request("GET", f"{parts.path}?{parts.query}", headers=token)
    # Requests are read in the order in which they come: when this one is answered, that one is
    # waiting.
    world.ask("GET", "sms", c.HEALTH)
    world.services.stop()
    heard: list[dict[str, str]] = json.loads(waiting.getresponse().read())["messages"]
    waiting.close()
    return heard


@pytest.fixture(scope="session")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Crashed:
    """A run whose biller is killed amid payments, and again with an unsent SMS."""
    folder = tmp_path_factory.mktemp("crashed")
    chosen = ("psp", "biller", "sms")
    with Services(stubborn_scenario(), SEED, folder, only=chosen) as services:
        world = World(services)
        confirmed = _kill_amid_payments(world)
        confirmed[330], died = _kill_with_an_unsent_message(world, 330)
        left_unsent = [one["reference"] for one in world.inbox(330, confirmed[330], 20_000)]
        pending = world.pay(331, bank="AXIS").body
        world.inbox(331, pending["transaction_id"])
        processes = dict(services._running)
        interrupted = _stop_while_somebody_waits(world)
        exit_codes = {name: process.returncode for name, process in processes.items()}
    return Crashed(services, confirmed, died, left_unsent, interrupted, exit_codes)


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Ask again until something is true; the time-out of the test is the limit."""

    def wait(fact: Callable[[], bool]) -> None:
        while not fact():
            time.sleep(0.02)

    return wait
