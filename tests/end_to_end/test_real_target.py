"""Load on parties that are not ours: somebody's biller, and payment service and gateway elsewhere.

Everything goes over sockets; the biller is the Flask one, whose books are looked into directly.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import runpy
import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from werkzeug.serving import make_server

from fewseconds import acknowledgements
from fewseconds.dry_run import dry_run
from fewseconds.errors import HarnessError, UsageError
from fewseconds.load_run import LoadRecord, run
from fewseconds.parties import Parties
from fewseconds.plan import plan
from fewseconds.real_target import RealTarget, checked
from fewseconds.run import LoadWish
from fewseconds.shapes import Shape
from fixtures import bill_file
from mock_psp.serve import Options, Services
from tests.mock_psp.scenarios import quick_scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.scenario import Scenario

HERE = Path(__file__).parents[1] / "mock_psp"
SECRET, KEY = "what-was-typed-into-the-dashboard", "the-key-of-the-api"
SEED, JOURNEYS = 7, 6
SHAPE = Shape(journeys_max=JOURNEYS)
LOAD = {"load": {"duration_s": 2, "drain_s": 6}}


class Flask(NamedTuple):
    """The biller that is not ours, what it was asked, and the files to reach it."""

    folder: Path
    url: str
    books: Any
    asked: list[tuple[str, str]]

    def parties(self, **changes: object) -> Parties:
        """What somebody writes at the command line."""
        told: dict[str, Any] = {
            "biller_url": self.url,
            "bills": self.folder / "bills.csv",
            "adapter": self.folder / "biller.toml",
            "secret_file": self.folder / "secret.txt",
        }
        return Parties(**(told | changes))


def bills_file(folder: Path, first: int, count: int) -> Path:
    """A file of open bills."""
    due = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=10)
    lines = ["bill_number,consumer_number,amount_rupees,due_on"]
    lines += [f"INV-{n},A-{n},{n + 130}.76,{due}" for n in range(first, first + count)]
    path = folder / f"bills{first or ''}.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture
def flask(tmp_path: Path) -> Iterator[Flask]:
    """The Flask biller with as many bills as there are journeys."""
    path = bills_file(tmp_path, 0, JOURNEYS)
    with path.open(encoding="utf-8", newline="") as file:
        dues = {
            row["bill_number"]: (
                row["consumer_number"], Decimal(row["amount_rupees"]),
                dt.date.fromisoformat(row["due_on"]),
            )
            for row in csv.DictReader(file)
        }  # fmt: skip
    for name, text in (("secret.txt", SECRET), ("key.txt", KEY)):
        (tmp_path / name).write_text(text + "\n", "utf-8")
    (tmp_path / "biller.toml").write_text((HERE / "flask_biller.toml").read_text("utf-8"))
    told = runpy.run_path(str(HERE / "flask_biller.py"))
    app = told["application"](dues, secret=SECRET, key=KEY)
    asked: list[tuple[str, str]] = []

    def note(environ: dict[str, Any], begin: Any) -> Any:  # noqa: ANN401 - WSGI
        asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        return app(environ, begin)

    server = make_server("127.0.0.1", 0, note, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield Flask(tmp_path, url, app.extensions["books"], asked)
    server.shutdown()
    server.server_close()


def played(scenario: Scenario, folder: Path, real: RealTarget | None) -> LoadRecord:
    """One load run with printed codes."""
    wish = LoadWish(shape=SHAPE, decoding="printed", real=real)
    return run(scenario, SEED, folder / "results", wish, lambda *_: None, "")


def broken(record: LoadRecord) -> list[str]:
    """The rules of the audit that do not hold, with what broke them."""
    return [f"{one.name}: {one.first}" for one in record.checks if not one.passed]


def holding(folder: Path, secret: str) -> list[Path]:
    """The files of a run that hold a secret, also those that only their owner may read."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_same_bills_are_paid_at_a_foreign_biller_twice_in_a_row(flask: Flask) -> None:
    """Through adapter and reset hook every bill is paid once a run, and receipts agree."""
    scenario = quick_scenario(LOAD)
    real = checked(flask.parties(), scenario, SEED, SHAPE)
    transactions: set[str] = set()
    for number in (1, 2):
        record = played(scenario, flask.folder, real)
        assert flask.asked.count(("POST", "/v2/reopen")) == number
        assert record.fates == {"confirmed": JOURNEYS}, record.validity.reasons
        assert broken(record) == []
        # The biller's own books are the oracle: every invoice booked, none twice, all amounts.
        assert {*flask.books.paid} == {f"INV-{n}" for n in range(JOURNEYS)}
        assert {entry["state"] for entry in flask.books.entries.values()} == {"BOOKED"}
        transactions |= {*flask.books.entries}
        told = {one.name for one in record.checks}
        assert (
            "every payment that a payer was told had succeeded has a receipt, at its amount" in told
        )
        assert any("No SMS gateway is given" in note for note in record.notes)
        assert "sms_time" not in {verdict.measure for verdict in record.verdicts}
        for secret in (SECRET, KEY):
            assert holding(Path(record.folder), secret) == []
    assert len(transactions) == 2 * JOURNEYS


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_a_reset_bills_stay_paid_and_its_failure_stops_the_run(flask: Flask) -> None:
    """A hook that fails is said before anything is sent; without one nobody can pay twice."""
    scenario = quick_scenario(LOAD)
    failing = checked(flask.parties(reset="false"), scenario, SEED, SHAPE)
    with pytest.raises(HarnessError, match="reset hook 'false': ended with 1"):
        played(scenario, flask.folder, failing)
    assert flask.asked == []
    text = (flask.folder / "biller.toml").read_text("utf-8")
    (flask.folder / "biller.toml").write_text(text.split("[reset]")[0], "utf-8")
    real = checked(flask.parties(), scenario, SEED, SHAPE)
    assert played(scenario, flask.folder, real).fates == {"confirmed": JOURNEYS}
    again = played(scenario, flask.folder, real)
    assert again.fates == {"declined": JOURNEYS}
    assert broken(again) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(flask: Flask) -> None:
    """What it lists is what the biller is then asked, request for request; no secret is in it."""
    scenario = quick_scenario(LOAD)
    real = checked(flask.parties(), scenario, SEED, SHAPE)
    assert real is not None
    window, window_us = real.window(plan(scenario, SEED), SHAPE)
    told = dry_run(window, window_us, real, "hash")
    assert flask.asked == []
    assert told.journeys == JOURNEYS
    assert told.reset == f"POST {flask.url}/v2/reopen"
    text = json.dumps([str(one) for one in told.requests])
    assert SECRET not in text
    assert KEY not in text
    record = played(scenario, flask.folder, real)
    first = next(iter(acknowledgements.read(Path(record.folder) / "acknowledgements")))
    names = {"known-later": first.transaction_id, "INV-0": first.bill_number}
    for one in told.requests:
        if one.url.startswith(flask.url):
            path = one.url.removeprefix(flask.url)
            for placeholder, name in names.items():
                path = path.replace(placeholder, name)
            assert (one.method, path) in flask.asked


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_our_services_elsewhere_are_paid_at_as_somebody_elses(tmp_path: Path) -> None:
    """Started by hand with bills of a file, they take two runs in a row, and every SMS arrives."""
    scenario = quick_scenario(LOAD)
    everything = tuple(bill_file.read(bills_file(tmp_path, 0, 2 * JOURNEYS)))
    world = tmp_path / "world"
    with Services(scenario, SEED, world, options=Options(bills=everything)) as services:
        for first in (0, JOURNEYS):
            parties = Parties(
                psp_url=services.urls["psp"], sms_url=services.urls["sms"],
                bills=bills_file(tmp_path, first, JOURNEYS), credentials=world / "secrets.json",
            )  # fmt: skip
            real = checked(parties, scenario, SEED, SHAPE)
            record = played(scenario, tmp_path, real)
            assert record.fates == {"confirmed": JOURNEYS}, record.validity.reasons
            assert broken(record) == []
            by_measure = {verdict.measure: verdict for verdict in record.verdicts}
            assert by_measure["sms_time"].count == JOURNEYS
            assert holding(Path(record.folder), services.token) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"psp_url": "http://pay.example/"}, "--allow-host pay.example"),
        ({"biller_url": "https://biller.example"}, "--allow-host biller.example"),
        ({"sms_url": "http://192.0.2.7:8000"}, "--allow-host 192.0.2.7"),
        ({"bbps_url": "http://bbps.example"}, "--allow-host bbps.example"),
        ({"reset": "http://reset.example/all"}, "--allow-host reset.example"),
        ({"secret_file": None}, "--secret-file"),
        ({"biller_url": ""}, "--adapter: says how the biller"),
        ({"biller_url": "", "adapter": None, "sms_url": "http://127.0.0.1:1"}, "--sms-url"),
        ({"credentials": Path("nowhere.toml")}, "nowhere.toml: cannot be read"),
    ],
)
def test_what_may_not_be_is_said_before_anything_is_sent(
    flask: Flask, changes: dict[str, object], told: str
) -> None:
    """Other machines need to be named, every one of them; options have to go together."""
    with pytest.raises(UsageError) as caught:
        checked(flask.parties(**changes), quick_scenario(LOAD), SEED, SHAPE)
    assert told in str(caught.value)
    assert flask.asked == []


def test_bills_are_fetched_over_bbps(tmp_path: Path) -> None:
    """As many as the run can use, in the order of the consumers, with the token of the platform."""
    scenario = quick_scenario(LOAD)
    with Services(scenario, SEED, tmp_path, only=("biller", "psp")) as services:
        parties = Parties(
            bbps_url=services.urls["biller"], psp_url=services.urls["psp"],
            credentials=tmp_path / "secrets.json",
        )  # fmt: skip
        real = checked(parties, scenario, SEED, SHAPE)
        assert real is not None
        assert real.bills is not None
        fetched = real.bills.bills
        # The mock biller makes the bill of consumer i from the seed, so it can be made again.
        from fixtures.bills import bill  # noqa: PLC0415 - the oracle of this test alone

        made = [bill(SEED, index) for index in range(JOURNEYS)]
        assert [(one.number, one.consumer, one.amount_paise, one.due_on) for one in fetched] == [
            (one.number, one.consumer, one.amount_paise, one.due_on) for one in made
        ]
        (tmp_path / "numbers.csv").write_text("consumer_number\nnobody\n", "utf-8")
        with pytest.raises(UsageError, match="knows no consumer 'nobody'"):
            checked(
                Parties(
                    bbps_url=services.urls["biller"], bills=tmp_path / "numbers.csv",
                    credentials=tmp_path / "secrets.json",
                ),
                scenario, SEED, SHAPE,
            )  # fmt: skip
        with pytest.raises(UsageError, match=r"answers 401; put its token under \[bbps\]"):
            checked(Parties(bbps_url=services.urls["biller"]), scenario, SEED, SHAPE)
