"""The audit without a database: what payers were told, settlement file, receipts and SMS log.

The files are written down by hand: two payments of two bills, a third that failed, and a fourth
that paid the second bill again and was given back.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from fewseconds.errors import UsageError
from fewseconds.identity import IST
from mock_psp import audit_files, auditor
from mock_psp.audit_rules import RULES
from mock_psp.audit_sources import Files
from mock_psp.auditor import needs

if TYPE_CHECKING:
    from pathlib import Path

MADE_S = int(dt.datetime(2026, 11, 20, 10, tzinfo=IST).timestamp())
SETTLED_S = int(dt.datetime(2026, 11, 21, tzinfo=IST).timestamp())
Rows = list[dict[str, Any]]


def told(name: str, bill: str, paise: int, status: str = "SUCCESS") -> dict[str, Any]:
    """A line of what payers were told."""
    return {
        "at_us": 1, "journey_id": ord(name), "attempt": 1, "transaction_id": name,
        "bill_number": bill, "amount_paise": paise, "printed_paise": paise, "status": status,
        "code": "", "rrn": f"rrn {name}",
    }  # fmt: skip


def settled(name: str, bill: str, paise: int, kind: str = "payment") -> dict[str, Any]:
    """A line of the settlement file."""
    return {
        "type": kind, "entity_id": f"{kind} {name}", "upi_transaction_id": name, "amount": paise,
        "created_at": MADE_S, "settled_at": SETTLED_S, "reference": bill,
    }  # fmt: skip


def receipt(name: str, posting: str, paise: int | None = None) -> dict[str, Any]:
    """A line of the biller's receipts."""
    return {"transaction_id": name, "posting": posting, "amount_paise": paise}


def sms(name: str) -> dict[str, Any]:
    """A line of the gateway's log."""
    return {"entry": "accepted", "reference": name, "message_id": f"m {name}"}


class Desk:
    """The four files on somebody's desk."""

    def __init__(self, folder: Path) -> None:
        """In good order."""
        self.folder = folder
        self.rows: dict[str, Rows] = {
            "told": [
                told("a", "1", 100), told("b", "2", 200, "PENDING"), told("b", "2", 200),
                told("c", "3", 300, "FAILURE"), told("d", "2", 200),
            ],
            "settled": [
                settled("a", "1", 100), settled("b", "2", 200), settled("d", "2", 200),
                settled("d", "2", 200, "refund"),
            ],
            "receipts": [
                receipt("a", "credited", 100), receipt("b", "credited", 200), receipt("c", "none"),
                receipt("d", "refund_due", 200),
            ],
            "sms": [sms("a"), sms("b"), sms("d")],
        }  # fmt: skip

    def files(self) -> Files:
        """Write them: lines of JSON, CSV, and a JSON object with items as the API has it."""
        paths = {name: self.folder / name for name in self.rows}
        lines = (json.dumps(row) + "\n" for row in self.rows["told"])
        paths["told"].write_text("".join(lines), "utf-8")
        paths["settled"].write_text(json.dumps({"items": self.rows["settled"]}), "utf-8")
        for name in ("receipts", "sms"):
            with paths[name].open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(self.rows[name][0]))
                writer.writeheader()
                writer.writerows(self.rows[name])
        return Files(paths["told"], paths["settled"], paths["receipts"], paths["sms"])

    def broken(self) -> set[str]:
        """Names of the rules that the auditor calls broken."""
        found = auditor.audit(None, "", self.files()).checks
        return {check.name for check in found if not check.passed}


PLANTED: list[tuple[str, str, int, dict[str, Any] | None, str]] = [
    # The invariant, the file, the line, what it says instead (None: it is gone), the rule.
    ("I1", "settled", 3, {"amount": 201}, "no more is given back than came in"),
    ("I1", "settled", 0, {"upi_transaction_id": "c"}, "had failed was not kept"),
    ("I2", "settled", 3, None, "all but one went back"),
    ("I2", "receipts", 3, {"posting": "credited"}, "two receipts that say credited"),
    ("I2", "receipts", 3, {"posting": "none"}, "is refunded at the biller, too"),
    ("I3", "settled", 0, None, "is settled once, at its amount"),
    ("I3", "settled", 0, {"amount": 99}, "is settled once, at its amount"),
    ("I3", "receipts", 0, {"posting": "none"}, "has a receipt, at its amount"),
    ("I3", "receipts", 0, {"amount_paise": 99}, "has a receipt, at its amount"),
    ("I4", "sms", 0, None, "exactly one SMS"),
    ("I4", "sms", 0, {"reference": "b"}, "exactly one SMS"),
    ("I4", "sms", 0, {"reference": "c"}, "exactly one SMS"),
    ("I5", "told", 1, {"status": "FAILURE"}, "only moves forward"),
    ("I7", "told", 0, {"printed_paise": 90}, "the amount in the code"),
    ("I8", "told", 1, {"amount_paise": 199}, "the same facts"),
    ("I9", "receipts", 2, {"posting": "credited"}, "had failed is not credited"),
    ("I11", "settled", 0, {"settled_at": SETTLED_S + 86_400}, "everything on its day"),
    ("I11", "settled", 0, {"entity_id": "payment b"}, "nothing is settled twice"),
    ("I11", "receipts", 1, {"posting": "none"}, "what was settled has a receipt"),
]


@pytest.mark.parametrize(("invariant", "file", "line", "change", "rule"), PLANTED)
def test_without_a_database_a_planted_violation_is_named(
    tmp_path: Path, invariant: str, file: str, line: int, change: dict[str, Any] | None, rule: str
) -> None:
    """Books in good order pass; one line changed or lost breaks the rule that stands for it."""
    desk = Desk(tmp_path)
    assert desk.broken() == set()
    if change is None:
        del desk.rows[file][line]
    else:
        desk.rows[file][line] |= change
    assert any(rule in name for name in desk.broken())
    checks = auditor.audit(None, "", desk.files()).checks
    assert invariant in {check.invariant for check in checks if not check.passed}


def test_what_cannot_be_checked_is_listed_with_what_it_needs(tmp_path: Path) -> None:
    """With acknowledgements alone, every rule of the ledger is listed as one that needs it."""
    files = Files(acknowledgements=Desk(tmp_path).files().acknowledgements)
    found = auditor.audit(None, "", files)
    assert found.passed
    assert {check.invariant for check in found.checks} == {"I5", "I7", "I8"}
    why = {one.name: one.why for one in found.unchecked}
    for rule in RULES:
        assert why[rule.name].startswith("needs ")
        assert ("the biller's ledger" in why[rule.name]) is ("ledger" in needs(rule))
    assert any("give --settlement" in text for text in why.values())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("type,amount\npayment,1\n", ":1: 'type,amount' is no head with type, entity_id, "),
        ("nonsense", ":1: 'nonsense' is no head with type, entity_id, "),
        (" \n\n", "is empty; give a file with type, entity_id, "),
        ("{}", ":1: has no type, entity_id, "),
        ('{"type": "payment"', "is neither CSV nor JSON"),
        ('{"error": {\n}}\n', "is neither CSV nor JSON"),
        (
            "type,entity_id,upi_transaction_id,amount,created_at,settled_at\ntea,p,t,1,1,1\n",
            ":2: type: 'tea' is neither 'payment' nor 'refund'",
        ),
        ("[1, 2]", "is neither CSV nor JSON"),
        ("", "nothing to read"),
        (
            "type,entity_id,upi_transaction_id,amount,created_at,settled_at\npayment,p,t,1.5,1,1\n",
            ":2: amount: '1.5' is not a whole number",
        ),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: str, told: str) -> None:
    """Nonsense, a column that is missing, an amount with a fraction, no file: one sentence."""
    path = tmp_path / "settlement.csv"
    path.write_text(content, "utf-8")
    files = Files(settlement=path if content else None)
    with pytest.raises(UsageError) as caught:
        auditor.audit(None, "", files)
    assert told in str(caught.value)


@pytest.mark.parametrize(("left", "rows"), [(None, 2), (-1, 2), (-2, 1), (-40, 1)])
def test_a_last_line_counts_unless_it_is_cut_short(
    tmp_path: Path, left: int | None, rows: int
) -> None:
    """Whoever ends a file without a new line has not lost its last row."""
    path = tmp_path / "settlement.jsonl"
    text = "".join(f"{json.dumps(settled(name, '1', 100))}\n" for name in "ab")
    path.write_text(text[:left], "utf-8")
    assert len(list(audit_files.settlement(path))) == rows
