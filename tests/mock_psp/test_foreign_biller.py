"""Our payment service in front of a biller that is not ours, and strangers at our door."""

from __future__ import annotations

import base64
import runpy
import socket
import struct
import threading
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.serving import make_server

from fewseconds import contracts as c
from fewseconds.commands.serve import Wanted, serve
from fewseconds.commands.serve import _options as serve_options
from fewseconds.errors import UsageError
from fixtures import bills
from mock_psp import merchant_contract as m
from mock_psp import smpp_pdu as p
from mock_psp import templates
from mock_psp.listening import is_ready
from mock_psp.serve import Options, Services
from mock_psp.spec import Foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import World

HERE = Path(__file__).parent
SECRET, KEY = "what was typed into the dashboard", "the key of the API"
SEED = 7


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[tuple[Foreign, Any]]:
    """The Flask biller of ``flask_biller.py`` with bills of our consumers, and its books."""
    told = runpy.run_path(str(HERE / "flask_biller.py"))
    dues = {}
    for index in range(10):
        bill = bills.bill(SEED, index)
        dues[bill.number] = (bill.consumer, Decimal(bill.amount_paise) / 100, bill.due_on)
    (tmp_path / "key.txt").write_text(KEY, "utf-8")
    adapter = tmp_path / "biller.toml"
    adapter.write_text((HERE / "flask_biller.toml").read_text("utf-8"), "utf-8")
    app = told["application"](dues, secret=SECRET, key=KEY)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Foreign(f"http://127.0.0.1:{server.server_port}", str(adapter)), app.extensions["books"]
    server.shutdown()
    server.server_close()


def test_payments_reach_a_biller_of_another_kind(
    quick: Callable[..., Scenario],
    enter: Callable[[Services], World],
    foreign: tuple[Foreign, Any],
    tmp_path: Path,
) -> None:
    """Scan, pay and callback pass the adapter, in two runs one after the other."""
    place, books = foreign
    options = Options(biller=place, biller_secret=SECRET)
    for index in (1, 2):
        folder = tmp_path / f"run{index}"
        with Services(quick(), SEED, folder, only=("psp", "sms"), options=options) as services:
            world = enter(services)
            bill = world.bill(index)
            shown = world.resolve(index).body
            assert (shown["bill_number"], shown["amount_paise"]) == (bill.number, bill.amount_paise)
            paid = world.pay(index).body
            assert paid["status"] == "SUCCESS"
            world.until(partial(books.paid.__contains__, bill.number))
            assert books.paid[bill.number] == paid["transaction_id"]
            assert books.entries[paid["transaction_id"]]["utr"] == paid["rrn"]
            # One paisa short is declined by that biller before anything is debited.
            short = world.pay(index + 2, amount_paise=world.bill(index + 2).amount_paise - 1).body
            assert short["status"] == "FAILURE"
            assert world.bill(index + 2).number not in books.paid


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"only": ("bank",)}, "'bank' is not one of"),
        ({"biller_url": "http://127.0.0.1:1"}, "needs --secret-file"),
        ({"biller_url": "http://biller.example"}, "--allow-host biller.example"),
        ({"biller_url": "http://127.0.0.1:1", "only": ("biller",)}, "leave one out"),
        ({"adapter": Path("a.toml")}, "give both"),
        ({"listen": "0.0.0.0:8000"}, "--allow-from"),
        ({"listen": "everywhere"}, "is not ADDRESS:PORT"),
        ({"listen": "127.0.0.1:8000", "allow_from": ("all",)}, "--allow-from: 'all'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(wanted: dict[str, Any], told: str) -> None:
    """One sentence, before anything is started."""
    with pytest.raises(UsageError) as caught:
        serve(Wanted(scenario="smoke", **wanted), as_json=True)
    assert told in str(caught.value)


def test_strangers_are_turned_away_at_the_door(
    quick: Callable[..., Scenario], tmp_path: Path
) -> None:
    """The exposed services listen where they were told, the ledger stays on this machine."""
    everywhere = "0.0.0.0"  # noqa: S104 - which is what is tested
    options = Options(
        listen=everywhere,
        allowed=("203.0.113.0/24",),
        public_url="http://pay.example/",
        smpp_port=0,
    )
    with Services(quick(), SEED, tmp_path, only=("sms",), options=options) as services:
        spec = services.spec
        assert is_ready(spec.ports["sms"])
        assert spec.public == "http://pay.example"
        allowed = spec.networks("sms")
        assert allowed is not None
        assert [str(one) for one in allowed] == ["203.0.113.0/24"]
        assert spec.networks("biller") is None
        assert spec.url("biller").startswith("http://127.0.0.1:")
        own = _own_address()
        assert spec.smpp_port is not None
        for port in (spec.ports["sms"], spec.smpp_port) if own is not None else ():
            with socket.create_connection((own, port), 5) as connection:
                connection.sendall(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n")
                assert _said(connection) == b""
        with socket.create_connection(("127.0.0.1", spec.smpp_port), 5) as connection:
            connection.sendall(struct.pack(">IIII", 16, p.SUBMIT_SM, 0, 1))
            assert _said(connection) != b""


def test_webhooks_go_to_the_machines_that_were_named(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """A biller elsewhere hears of its payments and its SMS if, and only if, its host was named."""
    wanted = Wanted(scenario="smoke", allow_host=("biller.example",))
    options, _ = serve_options(wanted)
    assert options.webhook_hosts == ("biller.example",)
    with Services(quick(), SEED, tmp_path, only=("psp", "sms"), options=options) as services:
        world = enter(services)
        keys = f"{world.secrets.merchant_key_id}:{world.secrets.merchant_key_secret}"
        basic = "Basic " + base64.b64encode(keys.encode()).decode()
        for host, status in (("biller.example", 200), ("other.example", 400)):
            asked = m.WebhookRequest(
                url=f"http://{host}/hook", secret="s" * 16, events=["refund.processed"]
            )
            made = world.ask("POST", "psp", m.WEBHOOKS, asked, authorization=basic)
            assert (host, made.status) == (host, status)
            sms = c.SmsRequest(
                "+919876543210", templates.SENDER, templates.ENTITY_ID, templates.RECEIPT,
                "text", f"ref-{host}", f"http://{host}/report",
            )  # fmt: skip
            taken = 202 if status == 200 else 400
            assert (host, world.ask("POST", "sms", c.SMS_SEND, sms).status) == (host, taken)


def _said(connection: socket.socket) -> bytes:
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


def _own_address() -> str | None:
    """An address of this machine that is not loopback, if it has one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])
