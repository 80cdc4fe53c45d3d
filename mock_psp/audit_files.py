"""Files that an audit reads where no database can be read: the settlement file, receipts, SMS log.

Each may be CSV, JSON (a list, or an object with ``items``) or one JSON object a line. What is none
of these, or has not the columns that are needed, is an error with its place in the file.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, Final

from fewseconds.errors import UsageError
from mock_psp.settlement import settled_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTLEMENT: Final = (
    "type",
    "entity_id",
    "upi_transaction_id",
    "amount",
    "created_at",
    "settled_at",
)
RECEIPTS: Final = ("transaction_id", "posting")
MESSAGES: Final = ("entry", "reference")
HEAD_LENGTH: Final = 60
"""So much is shown of a head that is none."""
POSTINGS: Final = ("credited", "refund_due", "refunded", "none")


def settlement(path: Path) -> Iterator[tuple[Any, ...]]:
    """Rows of ``settled``; amounts in paise, times in seconds since 1970, as Razorpay has them.

    Lines of other types (transfers, adjustments) are passed over, unless there are no others.
    """
    other, taken = "", False
    for place, row in _rows(path, SETTLEMENT):
        if row["type"] not in ("payment", "refund"):
            other = other or f"{place}: type: {row['type']!r}"
            continue
        taken = True
        created_s, settled_s = _whole(place, row, "created_at"), _whole(place, row, "settled_at")
        yield (
            row["type"], row["upi_transaction_id"], row["entity_id"], _whole(place, row, "amount"),
            row.get("reference") or "", settled_s, settled_at(created_s),
        )  # fmt: skip
    if other and not taken:
        raise UsageError(f"{other} is neither 'payment' nor 'refund', nor is any other line's")


def receipts(path: Path) -> Iterator[tuple[Any, ...]]:
    """Rows of ``vouched``."""
    for place, row in _rows(path, RECEIPTS):
        if row["posting"] not in POSTINGS:
            known = ", ".join(POSTINGS)
            raise UsageError(f"{place}: posting: {row['posting']!r} is not one of {known}")
        there = row.get("amount_paise") not in (None, "")
        amount = _whole(place, row, "amount_paise") if there else None
        yield row["transaction_id"], row.get("receipt_number") or "", amount, row["posting"]


def messages(path: Path) -> Iterator[tuple[Any, ...]]:
    """Rows of ``messages``."""
    for place, row in _rows(path, MESSAGES):
        yield (
            0, row["entry"], row.get("message_id") or place, row["reference"],
            row.get("to") or "", row.get("code") or "",
        )  # fmt: skip


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file, each with its place."""
    try:
        text = path.read_text("utf-8-sig")
        for number, row in _parsed(path, text, needed):
            missing = [name for name in needed if row.get(name) is None]
            if missing:
                raise UsageError(f"{path}:{number}: has no {', '.join(missing)}")
            yield f"{path}:{number}", row
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError, AttributeError) as error:
        raise UsageError(f"{path}: is neither CSV nor JSON: {error}") from None


def _parsed(path: Path, text: str, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    start = text.lstrip()[:1]
    if not start:
        raise UsageError(f"{path}: is empty; give a file with {', '.join(needed)}")
    if start == "[" or (start == "{" and _is_whole(text)):
        told = json.loads(text)
        yield from enumerate(told["items"] if isinstance(told, dict) else told, start=1)
    elif start == "{":
        yield from _json_lines(text)
    else:
        reader = csv.DictReader(text.splitlines())
        if not set(needed) <= set(reader.fieldnames or ()):
            head = text.splitlines()[0][:HEAD_LENGTH]
            raise UsageError(f"{path}:1: {head!r} is no head with {', '.join(needed)}")
        for row in reader:
            yield reader.line_num, row


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            told = json.loads(line or "null")
        except json.JSONDecodeError:
            if 1 < number == len(lines) and not text.endswith("\n"):
                # A kill has cut the last line short.
                return
            raise
        if told is not None:
            yield number, told


def _is_whole(text: str) -> bool:
    """Whether a text is one JSON object with items, not one object a line."""
    try:
        told = json.loads(text)
    except json.JSONDecodeError:
        return False
    return isinstance(told.get("items"), list)


def _whole(place: str, row: dict[str, Any], name: str) -> int:
    try:
        return int(row[name])
    except (ValueError, TypeError):
        raise UsageError(f"{place}: {name}: {row[name]!r} is not a whole number") from None
