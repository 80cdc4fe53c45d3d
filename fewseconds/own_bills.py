"""A user's own bills in a plan: each journey pays another one of them.

The plan stays what it is (who pays, when, how); only what is paid is not made from the seed but
taken from the list, in its order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa

from fewseconds.errors import UsageError
from fewseconds.identity import Bill
from fewseconds.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path


class OwnBills(msgspec.Struct, frozen=True):
    """Bills of a real biller, and where they come from."""

    bills: tuple[Bill, ...]
    source: str
    """A file or an address, for messages."""

    def assigned(self, window: Plan) -> Plan:
        """The same journeys, journey i paying bill i; ``bill`` is the place in the list.

        Raises UsageError if there are fewer bills than journeys.
        """
        needed, there = len(window), len(self.bills)
        if there < needed:
            message = (
                f"{self.source}: {needed} journeys need {needed} bills, there are {there}; each is "
                f"used once, so give {needed - there} more or limit the run with --journeys {there}"
            )
            raise UsageError(message)
        column = window.table.schema.get_field_index("bill")
        places = pa.array(np.arange(needed, dtype=np.int64))
        return Plan(window.scenario, window.seed, window.table.set_column(column, "bill", places))

    def plan_hash(self, whole: Plan) -> str:
        """SHA-256 over the plan's own hash and everything a payment depends on in the bills."""
        total = hashlib.sha256(whole.digest.encode())
        for bill in self.bills:
            told = (bill.number, bill.consumer, bill.amount_paise, bill.due_on.isoformat())
            total.update(msgspec.json.encode(told))
        return total.hexdigest()


def read_private(path: Path) -> tuple[Bill, ...]:
    """The bills of a run, as :func:`encoded` wrote them; none if there is no file."""
    return msgspec.json.decode(path.read_bytes(), type=tuple[Bill, ...]) if path.exists() else ()


def encoded(bills: tuple[Bill, ...]) -> bytes:
    """Bills as the bytes of a file, which nobody but its owner should read: phones are in it."""
    return msgspec.json.encode(bills)
