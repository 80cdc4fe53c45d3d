"""``fewseconds conform`` and the adapters, against a biller that is not ours."""

from __future__ import annotations

import datetime as dt
import html
import json
import re
import runpy
import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from werkzeug.serving import make_server

from fewseconds import scenario_file
from fewseconds.commands.conform import Options, conform
from fewseconds.errors import HarnessError, MalformedError, UsageError
from mock_psp import adapter
from mock_psp.serve import Services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
SECRET, KEY = "what was typed into the dashboard", "the key of the API"
BILLS = 40
BILLING = """[billing]
source = "test"
early_days = 7
early_discount = 0.01
late_charge = 0.0125
"""


class Place:
    """A biller that is running, and the files that a person would write to reach it."""

    def __init__(self, folder: Path, url: str, checks: list[str]) -> None:
        """Files are in ``folder``; ``checks`` are the invoices that it was asked about."""
        self.folder, self.url, self.checks = folder, url, checks

    def options(self, **changes: Any) -> Options:  # noqa: ANN401 - fields of the options
        """What is said on the command line."""
        told = {
            "url": self.url,
            "scenario": "smoke",
            "seed": None,
            "bills": self.folder / "bills.csv",
            "adapter": self.folder / "biller.toml",
            "secret_file": self.folder / "secret.txt",
            "allow_host": (),
            "out": self.folder / "junit.xml",
        }
        return Options(**(told | changes))

    def failed(self) -> list[str]:
        """Names of the cases that the last JUnit file calls failures."""
        told = ET.parse(self.folder / "junit.xml")  # noqa: S314 - we wrote it ourselves
        cases = told.iter("testcase")
        return [case.get("name", "") for case in cases if case.find("failure") is not None]


@pytest.fixture
def biller(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Start the other biller, with its bills in a CSV file."""
    application = runpy.run_path(str(HERE / "flask_biller.py"))["application"]
    soon = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=10)
    due = [dt.date(2020, 1, 31), *[soon] * BILLS]
    dues = {f"INV/{n}": (f"A-{n}", Decimal(n * 731 + 12345) / 100, on) for n, on in enumerate(due)}
    lines = ["bill_number,consumer_number,amount_rupees,due_on"]
    lines += [f"{name},{told[0]},{told[1]},{told[2]}" for name, told in dues.items()]
    (tmp_path / "bills.csv").write_text("\n".join(lines), "utf-8")
    (tmp_path / "secret.txt").write_text(SECRET + "\n", "utf-8")
    (tmp_path / "key.txt").write_text(KEY + "\n", "utf-8")
    (tmp_path / "biller.toml").write_text((HERE / "flask_biller.toml").read_text("utf-8"))
    servers = []

    def start(**options: bool) -> Place:
        app = application(dues, secret=SECRET, key=KEY, **options)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        checks: list[str] = app.extensions["checks"]
        return Place(tmp_path, f"http://127.0.0.1:{server.server_port}", checks)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_biller_with_an_api_of_its_own_conforms(
    biller: Callable[..., Place], capsys: pytest.CaptureFixture[str]
) -> None:
    """With an adapter, all cases but that of the dated signature pass, twice in a row."""
    place = biller()
    for _ in range(2):
        code = conform(place.options(), as_json=True)
        said = json.loads(capsys.readouterr().out)
        words = {case["name"]: case["word"] for case in said["cases"]}
        assert code == 0, place.failed()
        assert [name for name, word in words.items() if word != "pass"] == ["replay is refused"]
        assert said["fail"] == 0
    assert place.failed() == []


@pytest.mark.parametrize("billing", ["", BILLING])
def test_our_biller_conforms_with_the_bills_of_its_month(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], billing: str
) -> None:
    """Every case is put and passes, whatever is owed that day, and of half a year before."""
    told = f'extends = "smoke"\narrivals.first_day = 2027-05-01\n{billing}'
    (tmp_path / "may.toml").write_text(told)
    name, folder = str(tmp_path / "may.toml"), tmp_path / "run"
    folder.mkdir()
    with Services(scenario_file.load(name), 7, folder, only=("biller",)) as services:
        options = Options(
            url=services.urls["biller"], scenario=name, seed=7, bills=None, adapter=None,
            secret_file=folder / "secrets.json", allow_host=(), out=None,
        )  # fmt: skip
        assert conform(options, as_json=True) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert [one for one in cases if one["word"] != "pass"] == []


def test_a_biller_that_forgets_copies_is_named(biller: Callable[..., Place]) -> None:
    """A broken rule fails the check and stands in the JUnit file."""
    place = biller(forgets_copies=True)
    assert conform(place.options(), as_json=True) == 1
    assert "copy is taken and changes nothing" in place.failed()


def test_a_biller_that_credits_late_money_is_named(biller: Callable[..., Place]) -> None:
    """Money for a bill long past its due date has to go back; a biller that keeps it fails."""
    place = biller(takes_late_money=True)
    assert conform(place.options(), as_json=True) == 1
    assert place.failed() == ["money for an expired bill is refunded"]


def test_a_biller_that_returns_money_at_once_conforms(biller: Callable[..., Place]) -> None:
    """Money that cannot be credited may be on its way back or back already."""
    place = biller(returns_at_once=True)
    assert conform(place.options(), as_json=True) == 0, place.failed()


def test_a_biller_that_declines_everybody_fails_soon(
    biller: Callable[..., Place], capsys: pytest.CaptureFixture[str]
) -> None:
    """After fifty open bills that may not be paid no more are tried, and it is a failure."""
    place = biller(declines=True)
    lines = (place.folder / "bills.csv").read_text("utf-8").splitlines()
    more = [lines[-1].replace("INV/", f"INV/9{number}-") for number in range(200)]
    (place.folder / "bills.csv").write_text("\n".join([*lines, *more]), "utf-8")
    assert conform(place.options(), as_json=True) == 1
    assert "may not be paid" in capsys.readouterr().out
    assert "payment is posted" in place.failed()
    # Fifty that were tried in vain, three wrong amounts and the expired one at most.
    assert len(place.checks) <= 54


def test_a_server_that_knows_nothing_of_bills_fails(
    biller: Callable[..., Place], tmp_path: Path
) -> None:
    """Answers of 404 to everything are no conformance, whatever else could not be asked."""
    place = biller()
    text = (tmp_path / "biller.toml").read_text("utf-8")
    (tmp_path / "biller.toml").write_text(text.replace("/v2/", "/nowhere/"), "utf-8")
    assert conform(place.options(), as_json=True) == 1
    assert "payment is posted" in place.failed()


def test_too_few_bills_are_inconclusive(biller: Callable[..., Place]) -> None:
    """Cases that found no open bill are not passed: the check says so and asks for more."""
    place = biller()
    lines = (place.folder / "bills.csv").read_text("utf-8").splitlines()
    (place.folder / "bills.csv").write_text("\n".join(lines[:6]), "utf-8")
    assert conform(place.options(), as_json=True) == 3
    assert place.failed() == []


def test_the_page_shows_what_was_expected_and_what_came(biller: Callable[..., Place]) -> None:
    """Every case of the JUnit file stands on the page, and the answer names what failed."""
    place = biller(forgets_copies=True)
    page = place.folder / "conform.html"
    assert conform(place.options(page=page), as_json=True) == 1
    told = html.unescape(re.sub(r"<[^>]*>", "\n", page.read_text("utf-8")))
    cases = ET.parse(place.folder / "junit.xml").iter("testcase")  # noqa: S314 - we wrote it
    expected = {case.get("name", ""): case.findtext("system-out", "") for case in cases}
    assert len(expected) >= 23
    for name, text in expected.items():
        assert name in told
        assert text.strip() in told
    assert f"No: it does not hold that “{place.failed()[0]}”" in told
    assert SECRET not in told
    assert KEY not in told
    with pytest.raises(UsageError, match="cannot be written"):
        conform(place.options(page=page / "page.html"), as_json=True)


def test_a_wrong_secret_is_no_crash(biller: Callable[..., Place]) -> None:
    """Every case that needs a signature fails, and says with which status."""
    place = biller()
    (place.folder / "secret.txt").write_text("another", "utf-8")
    assert conform(place.options(), as_json=True) == 1
    assert "payment is posted" in place.failed()


def test_other_machines_are_left_alone(biller: Callable[..., Place]) -> None:
    """Nothing is sent to a host that was not named."""
    place = biller()
    with pytest.raises(UsageError, match=r"--allow-host biller\.example"):
        conform(place.options(url="http://biller.example/"), as_json=True)


def test_nobody_there_is_the_harness_trouble(biller: Callable[..., Place]) -> None:
    """A refused connection is no verdict about a biller."""
    place = biller()
    with pytest.raises(HarnessError, match="is the biller running"):
        conform(place.options(url="http://127.0.0.1:9"), as_json=True)


def test_a_python_file_can_be_the_adapter(biller: Callable[..., Place]) -> None:
    """What data cannot say, two functions can."""
    place = biller()
    (place.folder / "biller.py").write_text(
        """
import json
SIGNATURE, OPERATIONS = "razorpay", ("callback", "receipt")
def request(operation, fields):
    if operation == "receipt":
        path, method, body = "/v2/entries/" + fields["transaction_id"], "GET", b""
    else:
        path, method = "/hooks/upi", "POST"
        result = "captured" if fields["status"] == "SUCCESS" else "failed"
        body = json.dumps({"payment": {
            "txn": fields["transaction_id"], "utr": fields["rrn"], "result": result,
            "invoice": fields["bill_number"], "total": fields["amount_rupees"],
        }}).encode()
    headers = {"x-key": "the key of the API", "content-type": "application/json"}
    return {"method": method, "path": path, "headers": headers, "body": body}
def read(operation, status, body):
    told = {}
    if operation == "receipt" and status == 200:
        words = {"BOOKED": "credited", "TO_RETURN": "refund_due", "FAILED": "none"}
        told = {"posting": words[json.loads(body)["entry"]["state"]]}
    return {"accepted": status < 300, "status": status, "fields": told}
""",
        "utf-8",
    )
    assert conform(place.options(adapter=place.folder / "biller.py"), as_json=True) == 0
    assert place.failed() == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{bill_number}", "{bill}", r"\[resolve\]: \{bill\} is not one of"),
        ("receipt_number =", "number =", r"\[receipt\]: answer.number is not one of"),
        ('"razorpay"', '"homemade"', "'homemade' is not one of"),
        ("key.txt", "nowhere.txt", "cannot be read"),
        ("[callback]", "[callbacks]", "callbacks"),
        ("method =", "methode =", "methode"),
        ("[receipt]", "[receipt", "table declaration"),
    ],
)
def test_faults_of_an_adapter_are_named(
    biller: Callable[..., Place], old: str, new: str, told: str
) -> None:
    """A field that does not exist, a file that is not there: before anything is sent."""
    path = biller().folder / "biller.toml"
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(UsageError, match=told):
        adapter.load(path)


@pytest.mark.parametrize(
    ("unit", "value", "paise"),
    [("rupees", "123.45", 12345), ("rupees", 0.29, 29), ("rupees", 7, 700), ("paise", "55", 55)],
)
def test_amounts_are_read_exactly(unit: str, value: object, paise: int) -> None:
    """Decimal rupees become whole paise without a detour over binary fractions."""
    assert _read_amount(unit, value) == paise


@pytest.mark.parametrize("value", ["1.234", "NaN", "Infinity", "eleven", "", [], True])
def test_amounts_that_are_none_are_named(value: object) -> None:
    """Parts of a paisa and other texts are an error of the answer, with their place."""
    with pytest.raises(MalformedError, match=r"receipt: total: .* is not"):
        _read_amount("rupees", value)


def _read_amount(unit: Any, value: object) -> object:  # noqa: ANN401 - a literal
    place = adapter.Place(at="total", unit=unit)
    mapped = adapter.Mapped(path="/", answer={"amount_paise": place})
    told = adapter.TomlAdapter(receipt=mapped)
    body = json.dumps({"total": value}).encode()
    return told.read("receipt", 200, body).fields["amount_paise"]
