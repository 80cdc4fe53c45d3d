"""The auditor: does the ledger of a run agree with everything else that was written down?

It shares no code with the ledger's writer. It reads the database, the payer side's journal, the
gateway's log and the outcomes, puts them side by side in one SQLite session and asks the questions
of ``audit_rules``.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from fewseconds import outcomes
from fewseconds.errors import HarnessError, MalformedError
from mock_psp.audit_rules import RULES
from mock_psp.bill_book import BillBook
from mock_psp.database import engine, url_of
from mock_psp.journal import entries
from mock_psp.message_log import log_entries
from mock_psp.spec import Folder, read_secrets, read_spec
from mock_psp.tariff import amounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mock_psp.spec import RunSpec

FIRST: Final = 5
"""How many violations of a rule are named."""
TABLES: Final = {
    "journal": "at_us, entry, transaction_id, journey_id, attempt, amount_paise, bill_number, "
    "rrn, status, code, created_s, reference, trace",
    "messages": "at_us, entry, message_id, reference, recipient, code",
    "codes": "reference PRIMARY KEY, received_paise, received_count",
    "seen": "journey_id",
    "open": "journey_id PRIMARY KEY",
    "printed": "bill_number, amount_paise",
}
CONFIRMING_STEPS: Final = ("pay", "check_status")


class Check(msgspec.Struct, frozen=True):
    """One rule, judged."""

    name: str
    checked: int
    violations: int
    first: tuple[str, ...]
    """The first violations, in words."""
    passed: bool


class Audit(msgspec.Struct, frozen=True):
    """All rules, judged."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule is broken."""
        return all(check.passed for check in self.checks)


def audit(run_folder: Path, database: str = "") -> Audit:
    """Judge the run in a folder; raises HarnessError if it holds no ledger.

    Its ledger is where the run says, unless ``database`` is the address of another.
    """
    folder = Folder(Path(run_folder).resolve())
    address = database or _address(folder)
    if not address and not folder.ledger.exists():
        message = f"{run_folder}: holds no ledger; give the folder of a run that had services"
        raise HarnessError(message)
    session = sqlite3.connect(":memory:", uri=True)
    try:
        if address:
            _copy(session, url_of(address, folder))
        else:
            session.execute(f"ATTACH 'file:{folder.ledger}?mode=ro' AS ledger")
        _gather(session, folder)
        return Audit(tuple(_judged(session, *rule) for rule in RULES))
    except sqlite3.Error as error:
        message = f"{folder.ledger}: cannot be read: {error}; is it the ledger of a run?"
        raise HarnessError(message) from None
    finally:
        session.close()


def _address(folder: Folder) -> str:
    """Where the run says that its ledger is; empty for the file in its folder."""
    if not folder.spec.exists():
        return ""
    spec = read_spec(folder.spec)
    return read_secrets(spec).database if Path(spec.secrets_file).exists() else ""


def _copy(session: sqlite3.Connection, url: sa.URL) -> None:
    """Bring the tables of a ledger elsewhere into the session, as they are."""
    session.execute("ATTACH ':memory:' AS ledger")
    made = engine(url)
    try:
        with made.connect() as connection:
            inspector = sa.inspect(connection)
            for name in inspector.get_table_names():
                columns = [column["name"] for column in inspector.get_columns(name)]
                session.execute(f"CREATE TABLE ledger.{name} ({', '.join(columns)})")
                rows = connection.execute(sa.text(f"SELECT * FROM {name}"))  # noqa: S608 - theirs
                marks = ", ".join("?" * len(columns))
                session.executemany(f"INSERT INTO ledger.{name} VALUES ({marks})", map(tuple, rows))  # noqa: S608 - as above
    except sa.exc.SQLAlchemyError as error:
        place = url.render_as_string(hide_password=True)
        message = f"{place}: cannot be read: {type(error).__name__}; is it the ledger of a run?"
        raise HarnessError(message) from None
    finally:
        made.dispose()


def _gather(session: sqlite3.Connection, folder: Folder) -> None:
    """Put what is not in the ledger beside it."""
    for name, columns in TABLES.items():
        session.execute(f"CREATE TABLE main.{name} ({columns})")
    _fill(session, "journal", (msgspec.structs.astuple(one) for one in entries(folder.journal)))
    _fill(
        session, "messages", (msgspec.structs.astuple(one) for one in log_entries(folder.messages))
    )
    _fill(session, "codes", _codes(folder.merchant))
    session.execute("CREATE INDEX main.by_transaction ON journal (transaction_id, entry)")
    session.execute("CREATE INDEX main.by_reference ON messages (reference, entry)")
    rows = outcomes.read(folder.outcomes) if folder.outcomes.exists() else None
    if rows is not None:
        confirmed = _is(rows, "step", CONFIRMING_STEPS)
        _fill(session, "seen", _journeys(rows, "client", "ok", confirmed))
        # A code means that somebody was told "not yet"; without one, the stop broke it off.
        broken_off = _is(rows, "code", ("",))
        _fill(session, "open", _journeys(rows, "server", "unfinished", broken_off))
    spec = read_spec(folder.spec)
    numbers = session.execute("SELECT DISTINCT bill_number FROM payments").fetchall()
    _fill(session, "printed", _printed(spec, [number for (number,) in numbers]))


def _fill(session: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    width = TABLES[table].count(",") + 1
    marks = ", ".join("?" * width)
    session.executemany(f"INSERT INTO main.{table} VALUES ({marks})", rows)  # noqa: S608 - our names


def _journeys(
    rows: pa.Table, observer: str, outcome: str, also: pa.ChunkedArray
) -> list[tuple[int]]:
    """Journeys that have a row like that."""
    mask = pc.and_(_is(rows, "observer", (observer,)), _is(rows, "outcome", (outcome,)))
    mask = pc.and_(mask, also)
    return [(one,) for one in pc.unique(rows.filter(mask)["journey_id"]).to_pylist()]


def _is(rows: pa.Table, column: str, values: tuple[str, ...]) -> pa.ChunkedArray:
    return pc.is_in(rows[column].cast(pa.string()), pa.array(values, pa.string()))


def _codes(path: Path) -> Iterable[tuple[str, int, int]]:
    """The QR codes that a merchant has made: the last line of each counts."""
    last: dict[str, dict[str, Any]] = {}
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        found = msgspec.json.decode(line) if line.endswith(b"\n") else {}
        if found.get("kind") == "QrCode":
            last[found["data"]["id"]] = found["data"]
    for name, code in last.items():
        reference = name.replace("qr_", "QR")
        yield reference, code["payments_amount_received"], code["payments_count_received"]


def _printed(spec: RunSpec, numbers: list[str]) -> Iterable[tuple[str, int]]:
    """Each bill with every amount that is right on some day."""
    book = BillBook(spec)
    for number in numbers:
        try:
            bill = book.numbered(number)
        except MalformedError:
            continue
        if bill is None:
            continue
        for amount_paise in amounts(bill, spec.scenario.billing):
            yield number, amount_paise


def _judged(session: sqlite3.Connection, name: str, counted: str, broken: str) -> Check:
    (checked,) = session.execute(counted).fetchone()
    violations = [str(text) for (text,) in session.execute(broken)]
    return Check(name, checked, len(violations), tuple(violations[:FIRST]), not violations)
