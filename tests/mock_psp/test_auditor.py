"""The auditor finds what is planted, and nothing else."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from fewseconds.errors import HarnessError, UsageError
from fewseconds.outcomes import STEP_ROW, Outcome, Writer
from mock_psp import auditor
from mock_psp import schema as t
from mock_psp.audit_leaks import leaks, looked_at
from mock_psp.audit_outside import FILE, SETTLED, TOLD
from mock_psp.audit_rules import RULES
from mock_psp.audit_sources import NO_FILES, TABLES, Files, Session
from mock_psp.spec import Folder

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from tests.mock_psp.conftest import Crashed

ONE = "(SELECT max(transaction_id) FROM payments WHERE status = 'CREDITED')"
OTHER = "(SELECT min(transaction_id) FROM payments WHERE status = 'CREDITED')"
BILL = f"(SELECT bill_number FROM payments WHERE transaction_id = {ONE})"
RRN = f"(SELECT rrn FROM payments WHERE transaction_id = {ONE})"
REST = (
    "body_sha256, transaction_id, 'FAILURE', 'failed', 1 FROM callbacks "
    f"WHERE transaction_id = {ONE}"
)

PLANTED: list[tuple[str, str]] = [
    # What somebody did to the ledger; the rule that has to notice.
    (f"DELETE FROM lines WHERE transaction_id = {ONE} AND amount_paise < 0", "two lines"),
    (f"UPDATE lines SET amount_paise = amount_paise + 1 WHERE transaction_id = {ONE}", "balance"),
    (
        "INSERT INTO lines VALUES ('nobody', 'consumer_dues', 'nobody', 5)",
        "belongs to a posted payment",
    ),
    (
        f"UPDATE payments SET bill_number = {BILL} WHERE transaction_id = {OTHER}",
        "credited at most once",
    ),
    (f"DELETE FROM bills WHERE transaction_id = {ONE}", "paid exactly when"),
    (f"UPDATE payments SET status = 'FAILED' WHERE transaction_id = {ONE}", "paid exactly when"),
    (
        f"UPDATE bills SET paid_paise = paid_paise - 1 WHERE transaction_id = {ONE}",
        "amount on the bill",
    ),
    (
        f"UPDATE payments SET amount_paise = amount_paise - 1 WHERE transaction_id = {ONE}",
        "rupee for rupee",
    ),
    (f"DELETE FROM receipts WHERE transaction_id = {ONE}", "exactly one receipt"),
    (f"INSERT INTO receipts VALUES ('R2', {ONE})", "exactly one receipt"),
    (
        f"UPDATE payments SET rrn = {RRN} WHERE transaction_id = {OTHER}",
        "reference number",
    ),
    (
        f"INSERT INTO callbacks SELECT sequence + 1000, event_id, {REST}",
        "reference number",
    ),
    (
        f"INSERT INTO callbacks SELECT sequence + 1000, 'evt_late', {REST}",
        "only moves forward",
    ),
    (
        f"UPDATE payments SET status = 'REFUND_DUE' WHERE transaction_id = {ONE}",
        "only moves forward",
    ),
    (f"DELETE FROM payments WHERE transaction_id = {ONE}", "acknowledged payment is posted"),
    (f"UPDATE outbox SET sent_us = NULL WHERE transaction_id = {ONE}", ""),
    (
        (
            "INSERT INTO alarms SELECT 1, 'event_with_another_body', 'evt_nobody', "
            f"transaction_id, 1 FROM payments WHERE transaction_id = {ONE}"
        ),
        "is an alarm, and changes nothing",
    ),
    (
        (
            "INSERT INTO alarms SELECT 1, 'reference_of_another_transaction', event_id, "
            f"transaction_id, 1 FROM callbacks WHERE transaction_id = {ONE}"
        ),
        "is an alarm, and changes nothing",
    ),
    (
        (
            "INSERT INTO callbacks SELECT sequence + 1000, 'evt_forged', body_sha256, 'FWSforged', "
            f"status, 'none', 1 FROM callbacks WHERE transaction_id = {ONE}"
        ),
        "the payment service did not send",
    ),
]
FORGED: list[tuple[str, str, str]] = [
    # The file, what becomes of each line about one payment, and the rule that has to notice.
    ("journal", '"entry":"credit"', "money is conserved"),
    ("journal", '"entry":"debit"', "money is conserved"),
    ("journal", '"entry":"acknowledged"', ""),
    ("messages", '"entry":"accepted"', "exactly one SMS"),
]


class Run(Folder):
    """A copy of a run whose ledger is in either database, without its keys: bugs fit in."""

    def __init__(self, root: Path, url: sa.URL) -> None:
        """The ledger is at ``url``."""
        super().__init__(root)
        self.url = url

    def change(self, statement: str) -> int:
        """Do something to the ledger; how many rows it did it to."""
        engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool)
        with engine.begin() as connection:
            found = connection.exec_driver_sql(statement).rowcount
        engine.dispose()
        return found


@pytest.fixture
def run_folder(crashed: Crashed, tmp_path: Path, ledger_url: sa.URL) -> Run:
    """A copy of a run in which all is well, in either database."""
    run = Run(tmp_path / "run", ledger_url)
    shutil.copytree(crashed.folder.root, run.root)
    run.ledger.unlink()
    source = sa.create_engine(f"sqlite:///{crashed.folder.ledger}", poolclass=sa.pool.NullPool)
    target = sa.create_engine(ledger_url, poolclass=sa.pool.NullPool)
    with source.connect() as old, target.begin() as new:
        for table in t.LEDGER.sorted_tables:
            columns = [sa.Column(column.name, column.type) for column in table.columns]
            loose = sa.Table(table.name, sa.MetaData(), *columns)
            loose.create(new)
            if rows := [dict(row) for row in old.execute(sa.select(table)).mappings()]:
                new.execute(sa.insert(loose), rows)
    source.dispose()
    target.dispose()
    return run


def broken(run: Run) -> list[str]:
    """Names of the rules that the auditor calls broken."""
    address = run.url.render_as_string(hide_password=False)
    return [check.name for check in auditor.audit(run.root, address).checks if not check.passed]


@pytest.mark.parametrize(("statement", "rule"), PLANTED)
def test_a_corrupted_ledger_is_noticed(run_folder: Run, statement: str, rule: str) -> None:
    """A changed, lost or doubled row breaks the rule that stands for it."""
    assert broken(run_folder) == []
    assert run_folder.change(statement) >= 1
    assert any(rule in name for name in broken(run_folder)) is bool(rule)


@pytest.mark.parametrize(("file", "mark", "rule"), FORGED)
@pytest.mark.parametrize("change", ["lost", "doubled"])
def test_a_lost_or_doubled_record_is_noticed(
    run_folder: Run, file: str, mark: str, rule: str, change: str
) -> None:
    """What banks and gateway wrote down has to match the ledger, too."""
    path: Path = getattr(run_folder, file)
    lines = path.read_text("utf-8").splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if mark in line)
    lines[place : place + 1] = [] if change == "lost" else [lines[place]] * 2
    path.write_text("".join(lines), "utf-8")
    assert any(rule in name for name in broken(run_folder)) is bool(rule)


def told(run: Run, **changes: object) -> None:
    """Say in the run's folder what the payer of a payment was told, with something changed."""
    engine = sa.create_engine(run.url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        row = connection.exec_driver_sql(
            f"SELECT transaction_id, bill_number, amount_paise FROM payments "
            f"WHERE transaction_id = {ONE}"
        ).one()
    engine.dispose()
    line = {
        "at_us": 1, "journey_id": 1, "attempt": 1, "transaction_id": row[0], "bill_number": row[1],
        "amount_paise": row[2], "printed_paise": row[2], "status": "SUCCESS", **changes,
    }  # fmt: skip
    run.acknowledgements.mkdir(exist_ok=True)
    with (run.acknowledgements / "load.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"transaction_id": "FWSnowhere"}, "was told had succeeded is posted"),
        ({"status": "FAILURE"}, "what a payer was told about a payment only moves forward"),
        ({"printed_paise": 1}, "is the amount in the code"),
        ({"rrn": "123456789012"}, "the same facts"),
        ({"amount_paise": 1}, "is settled once, at its amount"),
    ],
)
def test_what_payers_were_told_is_held_against_the_ledger(
    run_folder: Run, changes: dict[str, object], rule: str
) -> None:
    """A payer who was told something else than the books say breaks the rule for it."""
    told(run_folder, rrn="210987654321")
    assert broken(run_folder) == []
    told(run_folder, **changes)
    assert any(rule in name for name in broken(run_folder))


def test_a_settlement_file_is_held_against_the_ledger(run_folder: Run, tmp_path: Path) -> None:
    """A line for which nothing was posted is named, on either database."""
    path = tmp_path / "settlement.csv"
    head = "type,entity_id,upi_transaction_id,amount,created_at,settled_at,reference\n"
    path.write_text(head + "payment,pay_1,FWSnowhere,5,1,1,1\n", "utf-8")
    address = run_folder.url.render_as_string(hide_password=False)
    found = auditor.audit(run_folder.root, address, Files(settlement=path)).checks
    names = [one.name for one in found if not one.passed]
    assert "every line of the settlement file is in the ledger, at its amount" in names
    path.write_text(head, "utf-8")
    with pytest.raises(UsageError, match=r"settlement.csv: holds no payment and no refund, the l"):
        auditor.audit(run_folder.root, address, Files(settlement=path))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("called +919876543210 back", "a phone number"),
        ("from payer17@sbi", "a payer's address"),
        ("token {token}", "the secret 'token'"),
    ],
)
def test_what_may_not_be_written_is_found(
    crashed: Crashed, tmp_path: Path, text: str, what: str
) -> None:
    """A phone number, a payer's address or a secret in a log is named, and not repeated."""
    root = tmp_path / "run"
    shutil.copytree(crashed.folder.root, root)
    token = json.loads((root / "secrets.json").read_bytes())["token"]
    line = text.format(token=token)
    (root / "logs" / "more.log").write_text(f"all is well\n{line}\n", "utf-8")
    (found,) = (one for one in auditor.audit(root).checks if not one.passed)
    assert (found.invariant, found.first) == ("I12", (f"logs/more.log, line 2: {what}",))


def test_a_ledger_without_its_run_is_judged_by_itself(crashed: Crashed) -> None:
    """The file of a ledger is enough for what it can tell; the rest is listed."""
    found = auditor.audit(crashed.folder.ledger)
    assert found.passed
    assert {"I1", "I2", "I4", "I5", "I8"} <= {check.invariant for check in found.checks}
    assert all("needs" in one.why for one in found.unchecked)
    assert {"I3", "I7", "I9", "I11", "I12"} <= {one.invariant for one in found.unchecked}


def test_a_scrubbed_receipt_is_noticed(run_folder: Run) -> None:
    """A message that the gateway took and DLT scrubbing swallowed is named with its code."""
    lines = run_folder.messages.read_text("utf-8").splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if '"entry":"delivered"' in line)
    lines[place] = (
        lines[place].replace("delivered", "scrubbed").replace('"code":""', '"code":"630"')
    )
    run_folder.messages.write_text("".join(lines), "utf-8")
    address = run_folder.url.render_as_string(hide_password=False)
    found = auditor.audit(run_folder.root, address).checks
    checks = [one for one in found if not one.passed]
    assert [one.name for one in checks] == ["no accepted SMS was swallowed by DLT scrubbing"]
    assert "code 630" in checks[0].first[0]


def test_a_debit_that_went_nowhere_is_noticed(run_folder: Run) -> None:
    """Money that left an account and arrived nowhere breaks the conservation of money."""
    with run_folder.journal.open("a") as journal:
        journal.write(
            '{"at_us":1,"entry":"debit","transaction_id":"FWSx","journey_id":999999,"attempt":1,'
            '"amount_paise":100,"bill_number":"1","rrn":"999999999999"}\n'
        )
    assert any("money is conserved" in name for name in broken(run_folder))


@pytest.mark.parametrize(("code", "excused"), [("", True), ("01", False)])
def test_only_what_the_stop_broke_off_is_excused(
    run_folder: Run,
    code: str,
    excused: bool,  # noqa: FBT001 - a fact of the table above
) -> None:
    """A payment may be missing if it was under way at the stop, not because it once was pending."""
    engine = sa.create_engine(run_folder.url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        name = str(connection.exec_driver_sql(f"SELECT {ONE}").scalar())
    engine.dispose()
    for table in ("payments", "lines", "receipts", "outbox", "callbacks", "bills"):
        run_folder.change(f"DELETE FROM {table} WHERE transaction_id = '{name}'")
    journal = run_folder.journal.read_text("utf-8").splitlines(keepends=True)
    (journey_id,) = {json.loads(line)["journey_id"] for line in journal if name in line}
    kept = [line for line in journal if not (name in line and '"acknowledged"' in line)]
    run_folder.journal.write_text("".join(kept), "utf-8")
    writer = Writer(run_folder.outcomes, "more")
    times = (1, 1, 1, 1)
    row = ("callback", "callback", STEP_ROW, 1, "", *times, "unfinished", code)
    writer.add(Outcome("server", "more", journey_id, *row))
    writer.close()
    assert any("rupee for rupee" in rule for rule in broken(run_folder)) is not excused


def test_a_half_written_last_line_is_no_trouble(run_folder: Run) -> None:
    """A kill may cut the last line of a journal short."""
    for path in (run_folder.journal, run_folder.messages):
        with path.open("a") as file:
            file.write('{"at_us":1,"entry":"de')
    assert broken(run_folder) == []


def test_a_folder_without_ledger_is_not_audited(tmp_path: Path) -> None:
    """The auditor says what is missing instead of calling an empty folder clean."""
    with pytest.raises(HarnessError, match="holds no ledger"):
        auditor.audit(tmp_path)
    (tmp_path / "ledger.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(HarnessError, match="cannot be read"):
        auditor.audit(tmp_path)


@pytest.mark.parametrize("attached", [True, False])
def test_no_rule_reads_a_table_anew_for_every_row_of_another(
    crashed: Crashed, *, attached: bool
) -> None:
    """By what SQLite means to do, a rule's time never grows with the square of the city."""
    session = Session()
    if attached:
        session.attach(crashed.folder.ledger)
    else:
        session.copy(sa.make_url(f"sqlite:///{crashed.folder.ledger}"))
    session.read_folder(crashed.folder)
    session.read_files(NO_FILES, crashed.folder)
    for name in set(TABLES) - session.sources:
        session.fill(name, [])
    rules = (*RULES, *TOLD, *SETTLED, *FILE)
    squares = [rule.name for rule in rules if rescans(session.sqlite, rule.broken)]
    assert not squares
    for slow in (
        "SELECT (SELECT max(at_us) FROM journal l WHERE l.rrn = f.rrn) FROM journal f",
        "SELECT 1 FROM settled s WHERE EXISTS (SELECT 1 FROM journal j WHERE j.rrn = s.reference)",
        "SELECT 1 FROM settled s JOIN journal j ON j.at_us < s.due_s",
    ):
        assert rescans(session.sqlite, slow)


def rescans(sqlite: sqlite3.Connection, statement: str) -> bool:
    """Whether a whole table is read inside a loop over another."""
    nodes = sqlite.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    parents = {number: (parent, detail) for number, parent, _, detail in nodes}
    # A search that uses no index is a scan for the least or the greatest.
    scanned = [
        parent
        for _, parent, _, detail in nodes
        if detail.startswith("SCAN ") or (detail.startswith("SEARCH ") and "USING" not in detail)
    ]

    def inside(number: int) -> bool:
        if not number:
            return False
        parent, detail = parents[number]
        return detail.startswith("CORRELATED") or inside(parent)

    return len(scanned) != len(set(scanned)) or any(map(inside, scanned))


def test_only_what_others_may_read_is_looked_at(tmp_path: Path) -> None:
    """Private files hold what they hold on purpose, so nobody looks, and nobody says they did."""
    told = "called +919876543210 back\n"
    for name, mode in (
        ("run.json", 0o644), ("payers.jsonl", 0o600), ("psp.log", 0o600), ("ledger.db", 0o644),
    ):  # fmt: skip
        (tmp_path / name).write_text(told, "utf-8")
        (tmp_path / name).chmod(mode)
    assert [place for place, _, _ in leaks(tmp_path)] == ["psp.log", "run.json"]
    assert looked_at(tmp_path) == 2
