"""Files that an audit reads where no database can be read: the settlement file, receipts, SMS log.

Each may be CSV, JSON (a list, or an object with ``items``) or one JSON object a line. A column that
is needed and not there is an error with the name of the file.
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
POSTINGS: Final = ("credited", "refund_due", "refunded", "none")


def settlement(path: Path) -> Iterator[tuple[Any, ...]]:
    """Rows of ``settled``; amounts in paise, times in seconds since 1970, as Razorpay has them."""
    for place, row in _rows(path, SETTLEMENT):
        if row["type"] not in ("payment", "refund"):
            continue
        created_s, settled_s = _whole(place, row, "created_at"), _whole(place, row, "settled_at")
        yield (
            row["type"], row["upi_transaction_id"], row["entity_id"], _whole(place, row, "amount"),
            row.get("reference") or "", settled_s, settled_at(created_s),
        )  # fmt: skip


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
        for number, row in _parsed(text):
            missing = [name for name in needed if row.get(name) is None]
            if missing:
                raise UsageError(f"{path}:{number}: has no {', '.join(missing)}")
            yield f"{path}:{number}", row
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError, AttributeError) as error:
        raise UsageError(f"{path}: is neither CSV nor JSON: {error}") from None


def _parsed(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    start = text.lstrip()[:1]
    if start == "[" or (start == "{" and _is_whole(text)):
        told = json.loads(text)
        yield from enumerate(told["items"] if isinstance(told, dict) else told, start=1)
    elif start == "{":
        # A kill may have cut the last line short.
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            if line.endswith("\n") and line.strip():
                yield number, json.loads(line)
    else:
        reader = csv.DictReader(text.splitlines())
        for row in reader:
            yield reader.line_num, row


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
