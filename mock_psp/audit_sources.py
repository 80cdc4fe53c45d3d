"""Everything that an audit reads, side by side in one SQLite session."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from fewseconds import acknowledgements, outcomes
from fewseconds.contracts import BILLER_REFUNDS
from fewseconds.errors import HarnessError, MalformedError, UsageError
from fixtures.tariff import amounts
from mock_psp import audit_files
from mock_psp.audit_leaks import leaks, looked_at
from mock_psp.bill_book import BillBook
from mock_psp.database import engine
from mock_psp.journal import entries
from mock_psp.message_log import log_entries
from mock_psp.settlement import settled_at
from mock_psp.spec import read_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mock_psp.spec import Folder, RunSpec

TABLES: Final = {
    "journal": "at_us, entry, transaction_id, journey_id, attempt, amount_paise, bill_number, "
    "rrn, status, code, created_s, reference, trace, outcome, mode, funding, forced",
    "messages": "at_us, entry, message_id, reference, recipient, code",
    "untold": "reference PRIMARY KEY",
    "codes": "reference PRIMARY KEY, received_paise, received_count",
    "seen": "journey_id",
    "open": "journey_id PRIMARY KEY",
    "printed": "bill_number, amount_paise",
    "told": "sequence PRIMARY KEY, at_us, journey_id, attempt, transaction_id, bill_number, "
    "amount_paise, printed_paise, status, code, rrn",
    "settled": "type, transaction_id, entity_id, amount_paise, reference, settled_s, due_s",
    "vouched": "transaction_id PRIMARY KEY, receipt_number, amount_paise, posting",
    "leaks": "file, line, what",
    "looked_at": "files",
}
ENDINGS: Final = """
    SELECT reference, sum(entry = 'accepted') AS accepted,
           sum(entry IN ('delivered', 'undelivered', 'scrubbed')) AS ends,
           sum(entry = 'stopped') AS stopped
    FROM messages GROUP BY reference"""
"""What our gateway's log says became of each SMS; another gateway's may not tell."""
PIECE_ROWS: Final = 500_000
READ: Final = ["observer", "outcome", "code", "step", "journey_id"]
CONFIRMING_STEPS: Final = ("pay", "check_status")


class Files(msgspec.Struct, frozen=True):
    """What is given beside, or instead of, a database and a run's folder."""

    acknowledgements: Path | None = None
    settlement: Path | None = None
    receipts: Path | None = None
    messages: Path | None = None

    @property
    def any(self) -> bool:
        """Whether there is one of them."""
        return any(path is not None for path in msgspec.structs.astuple(self))


NO_FILES: Final = Files()


class Session:
    """The tables of an audit; ``sources`` are those that could be filled."""

    def __init__(self) -> None:
        """All tables are there, and empty."""
        self.sqlite = sqlite3.connect(":memory:", uri=True)
        for name, columns in TABLES.items():
            self.sqlite.execute(f"CREATE TABLE main.{name} ({columns})")
        self.sources: set[str] = set()
        self.own_settlement = False
        """The settlement is a file of the payment service's, not its journal again."""

    def attach(self, ledger: Path) -> None:
        """Read the ledger in a file."""
        self.sqlite.execute(f"ATTACH 'file:{ledger}?mode=ro' AS ledger")
        # A file that is no database is noticed only when it is read.
        self.sqlite.execute("SELECT count(*) FROM ledger.sqlite_master")
        self.sources.add("ledger")

    def copy(self, url: sa.URL) -> None:
        """Bring the tables of a ledger elsewhere into the session, as they are."""
        self.sqlite.execute("ATTACH ':memory:' AS ledger")
        made = engine(url)
        try:
            with made.connect() as connection:
                inspector = sa.inspect(connection)
                for name in inspector.get_table_names():
                    columns = [column["name"] for column in inspector.get_columns(name)]
                    self.sqlite.execute(f"CREATE TABLE ledger.{name} ({', '.join(columns)})")
                    rows = connection.execute(sa.text(f"SELECT * FROM {name}"))  # noqa: S608 - theirs
                    marks = ", ".join("?" * len(columns))
                    statement = f"INSERT INTO ledger.{name} VALUES ({marks})"  # noqa: S608 - as above
                    self.sqlite.executemany(statement, map(tuple, rows))
        except sa.exc.SQLAlchemyError as error:
            place = url.render_as_string(hide_password=True)
            message = f"{place}: cannot be read: {type(error).__name__}; is it the ledger of a run?"
            raise HarnessError(message) from None
        finally:
            made.dispose()
        self.sources.add("ledger")

    def fill(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Put rows into a table, which is a source from now on."""
        marks = ", ".join("?" * (TABLES[table].count(",") + 1))
        try:
            self.sqlite.executemany(f"INSERT INTO main.{table} VALUES ({marks})", rows)  # noqa: S608 - our names
        except sqlite3.IntegrityError as error:
            raise UsageError(f"{table}: a row is given twice: {error}") from None
        self.sources.add(table)

    # --- what a run has left --------------------------------------------------------------------

    def read_folder(self, folder: Folder) -> None:
        """Everything beside the ledger that the folder of a run holds."""
        if folder.journal.exists():
            # All columns but the last one: messages are nothing that moves money.
            journal = (msgspec.structs.astuple(one)[:-1] for one in entries(folder.journal))
            self.fill("journal", journal)
            self.fill("codes", _codes(folder.merchant))
            self.fill("untold", ((name,) for name in _untold(folder.merchant)))
            self.sqlite.execute(
                "CREATE INDEX main.by_transaction ON journal (transaction_id, entry)"
            )
        if folder.messages.exists():
            # All columns but the last two: rules compare what became of messages, not their words.
            log = (msgspec.structs.astuple(one)[:-2] for one in log_entries(folder.messages))
            self.fill("messages", log)
            self.sqlite.execute(f"CREATE VIEW main.endings AS {ENDINGS}")
            self.sources.add("endings")
        if folder.outcomes.exists():
            seen, broken_off = _journeys_of(folder.outcomes)
            self.fill("seen", ((one,) for one in seen))
            self.fill("open", ((one,) for one in broken_off))
        if "ledger" in self.sources and folder.spec.exists():
            numbers = self.sqlite.execute("SELECT DISTINCT bill_number FROM payments").fetchall()
            self.fill("printed", _printed(read_spec(folder.spec), [one for (one,) in numbers]))
        self.fill("leaks", leaks(folder.root))
        self.fill("looked_at", [(looked_at(folder.root),)])

    def read_files(self, files: Files, folder: Folder | None) -> None:
        """What was given, and else what the folder has of it."""
        told, vouched = files.acknowledgements, files.receipts
        if folder is not None:
            told = told or (folder.acknowledgements if folder.acknowledgements.exists() else None)
            vouched = vouched or (folder.receipts if folder.receipts.exists() else None)
        if told is not None:
            self.fill("told", _told(told))
        if vouched is not None:
            self.fill("vouched", audit_files.receipts(vouched))
        if files.messages is not None:
            self.fill("messages", audit_files.messages(files.messages))
        if files.settlement is not None:
            self.fill("settled", audit_files.settlement(files.settlement))
            self.own_settlement = True
            self._check_settlement(files.settlement)
        elif "journal" in self.sources:
            self.fill("settled", self._from_journal())
        self.sqlite.execute("CREATE INDEX main.by_printed ON printed (bill_number)")
        self.sqlite.execute("CREATE INDEX main.by_reference ON messages (reference, entry)")
        self.sqlite.execute("CREATE INDEX main.by_told ON told (transaction_id)")
        self.sqlite.execute("CREATE INDEX main.by_settled ON settled (transaction_id)")
        self.sqlite.execute("CREATE INDEX main.by_bill ON settled (type, reference)")

    def _check_settlement(self, path: Path) -> None:
        """Raise UsageError for a file without money beside a ledger that has taken some."""
        (lines,) = self.sqlite.execute("SELECT count(*) FROM settled").fetchone()
        if lines or "ledger" not in self.sources:
            return
        paid = "SELECT count(*) FROM payments WHERE status <> 'FAILED'"
        (taken,) = self.sqlite.execute(paid).fetchone()
        if taken:
            what = f"holds no payment and no refund, the ledger {taken} payments"
            raise UsageError(f"{path}: {what}; give the file of the days on which they are settled")

    def _from_journal(self) -> list[tuple[Any, ...]]:
        """What the payment service will settle, by its own journal."""
        moved = self.sqlite.execute(
            "SELECT CASE entry WHEN 'credit' THEN 'payment' ELSE 'refund' END, transaction_id, "
            "CASE entry WHEN 'credit' THEN transaction_id ELSE reference END, amount_paise, "
            "bill_number, created_s FROM journal WHERE entry IN ('credit', 'refund')"
        )
        # Many payments of one bill are what merchants' own codes are for.
        own = {name for (name,) in self.sqlite.execute("SELECT reference FROM codes")}
        return [
            (*row[:4], "" if row[4] in own else row[4], settled_at(row[5]), settled_at(row[5]))
            for row in moved
        ]


def _told(path: Path) -> Iterable[tuple[Any, ...]]:
    numbers = itertools.count(1)
    try:
        for one in acknowledgements.read(path):
            yield next(numbers), *msgspec.structs.astuple(one)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: holds no acknowledgements: {error}") from None


def _journeys_of(folder: Path) -> tuple[set[int], set[int]]:
    """Journeys that saw their payment confirmed, and those that the services' stop broke off."""
    seen: set[int] = set()
    broken_off: set[int] = set()
    for file in outcomes.files(folder):
        # A piece at a time: the whole city leaves thirty million rows.
        for piece in pq.ParquetFile(file).iter_batches(PIECE_ROWS, columns=READ):
            rows = pa.Table.from_batches([piece])
            seen |= _journeys(rows, "client", "ok", _is(rows, "step", CONFIRMING_STEPS))
            # A code means that somebody was told "not yet"; without one, the stop broke it off.
            broken_off |= _journeys(rows, "server", "unfinished", _is(rows, "code", ("",)))
    return seen, broken_off


def _journeys(rows: pa.Table, observer: str, outcome: str, also: pa.ChunkedArray) -> set[int]:
    """Journeys that have a row like that."""
    mask = pc.and_(_is(rows, "observer", (observer,)), _is(rows, "outcome", (outcome,)))
    mask = pc.and_(mask, also)
    return set(pc.unique(rows.filter(mask)["journey_id"]).to_pylist())


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


def _untold(path: Path) -> set[str]:
    """Refunds whose webhook was still on its way to our biller when the services stopped."""
    ours: set[str] = set()
    on_their_way: dict[str, str] = {}
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        found = msgspec.json.decode(line) if line.endswith(b"\n") else {}
        data = found.get("data", {})
        if found.get("kind") == "Endpoint" and data["url"].endswith(BILLER_REFUNDS):
            ours.add(data["id"])
        elif found.get("kind") == "Delivery" and data["done"]:
            on_their_way.pop(data["id"], None)
        elif found.get("kind") == "Delivery" and data["endpoint"] in ours:
            on_their_way[data["id"]] = data["body"]
    told = (msgspec.json.decode(body)["payload"] for body in on_their_way.values())
    return {payload["refund"]["entity"]["id"] for payload in told if "refund" in payload}


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
