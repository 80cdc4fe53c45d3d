"""The auditor finds what is planted, and nothing else."""

from __future__ import annotations

import json
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from fewseconds.errors import HarnessError
from fewseconds.outcomes import STEP_ROW, Outcome, Writer
from mock_psp import auditor
from mock_psp.spec import Folder

if TYPE_CHECKING:
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
    ("INSERT INTO lines VALUES ('nobody', 'consumer_dues', 5)", "belongs to a posted payment"),
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
]
FORGED: list[tuple[str, str, str]] = [
    # The file, what becomes of each line about one payment, and the rule that has to notice.
    ("journal", '"entry":"credit"', "money is conserved"),
    ("journal", '"entry":"debit"', "money is conserved"),
    ("journal", '"entry":"acknowledged"', ""),
    ("messages", '"entry":"accepted"', "exactly one SMS"),
]


@pytest.fixture
def run_folder(crashed: Crashed, tmp_path: Path) -> Folder:
    """A copy of a run in which all is well; the unique keys are dropped so that bugs fit in."""
    folder = Folder(tmp_path / "run")
    shutil.copytree(crashed.folder.root, folder.root)
    with sqlite3.connect(folder.ledger) as database:
        for (table,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall():
            database.execute(f"CREATE TABLE loose AS SELECT * FROM {table}")
            database.execute(f"DROP TABLE {table}")
            database.execute(f"ALTER TABLE loose RENAME TO {table}")
    database.close()
    return folder


def broken(folder: Folder) -> list[str]:
    """Names of the rules that the auditor calls broken."""
    return [check.name for check in auditor.audit(folder.root).checks if not check.passed]


@pytest.mark.parametrize(("statement", "rule"), PLANTED)
def test_a_corrupted_ledger_is_noticed(run_folder: Folder, statement: str, rule: str) -> None:
    """A changed, lost or doubled row breaks the rule that stands for it."""
    assert broken(run_folder) == []
    with sqlite3.connect(run_folder.ledger) as database:
        assert database.execute(statement).rowcount >= 1
    database.close()
    assert any(rule in name for name in broken(run_folder)) is bool(rule)


@pytest.mark.parametrize(("file", "mark", "rule"), FORGED)
@pytest.mark.parametrize("change", ["lost", "doubled"])
def test_a_lost_or_doubled_record_is_noticed(
    run_folder: Folder, file: str, mark: str, rule: str, change: str
) -> None:
    """What banks and gateway wrote down has to match the ledger, too."""
    path: Path = getattr(run_folder, file)
    lines = path.read_text("utf-8").splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if mark in line)
    lines[place : place + 1] = [] if change == "lost" else [lines[place]] * 2
    path.write_text("".join(lines), "utf-8")
    assert any(rule in name for name in broken(run_folder)) is bool(rule)


def test_a_scrubbed_receipt_is_noticed(run_folder: Folder) -> None:
    """A message that the gateway took and DLT scrubbing swallowed is named with its code."""
    lines = run_folder.messages.read_text("utf-8").splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if '"entry":"delivered"' in line)
    lines[place] = (
        lines[place].replace("delivered", "scrubbed").replace('"code":""', '"code":"630"')
    )
    run_folder.messages.write_text("".join(lines), "utf-8")
    checks = [one for one in auditor.audit(run_folder.root).checks if not one.passed]
    assert [one.name for one in checks] == ["no accepted SMS was swallowed by DLT scrubbing"]
    assert "code 630" in checks[0].first[0]


def test_a_debit_that_went_nowhere_is_noticed(run_folder: Folder) -> None:
    """Money that left an account and arrived nowhere breaks the conservation of money."""
    with run_folder.journal.open("a") as journal:
        journal.write(
            '{"at_us":1,"entry":"debit","transaction_id":"FWSx","journey_id":999999,"attempt":1,'
            '"amount_paise":100,"bill_number":"1","rrn":"999999999999"}\n'
        )
    assert any("money is conserved" in name for name in broken(run_folder))


@pytest.mark.parametrize(("code", "excused"), [("", True), ("01", False)])
def test_only_what_the_stop_broke_off_is_excused(
    run_folder: Folder,
    code: str,
    excused: bool,  # noqa: FBT001 - a fact of the table above
) -> None:
    """A payment may be missing if it was under way at the stop, not because it once was pending."""
    with sqlite3.connect(run_folder.ledger) as database:
        (name,) = database.execute(f"SELECT {ONE}").fetchone()
        for table in ("payments", "lines", "receipts", "outbox", "callbacks", "bills"):
            database.execute(f"DELETE FROM {table} WHERE transaction_id = ?", (name,))
    database.close()
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


def test_a_half_written_last_line_is_no_trouble(run_folder: Folder) -> None:
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
