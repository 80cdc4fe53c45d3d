"""After a run against a biller that is not ours: what it says of every payment payers heard of."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds import acknowledgements
from mock_psp.conformance import Conversation, Unable, Unmet

if TYPE_CHECKING:
    from pathlib import Path

    from mock_psp.adapter import Adapter

ASKED_MAX: Final = 20_000
"""More are not asked for: a real biller has other work."""
AT_ONCE: Final = 4


class Receipts(msgspec.Struct, frozen=True):
    """What came of asking."""

    payments: int
    asked: int
    unanswered: tuple[str, ...] = ()
    """Why some were not answered, the first few."""

    def notes(self) -> tuple[str, ...]:
        """What a reader must know, if not everything was answered."""
        told = []
        if self.asked < self.payments:
            told.append(f"Receipts were asked for {self.asked} of {self.payments} payments.")
        if self.unanswered:
            told.append(f"The biller did not show every receipt: {self.unanswered[0]}.")
        return tuple(told)


def collect(url: str, adapter: Adapter, told: Path, out: Path) -> Receipts:
    """Ask for the receipt of every payment that a payer heard of, and write the answers down.

    Without a receipt operation in the adapter nothing is asked and nothing is written.
    """
    if not told.exists() or not adapter.speaks("receipt"):
        return Receipts(0, 0)
    heard = {one.transaction_id: one for one in acknowledgements.read(told)}
    talk = Conversation(url, adapter, "", iter(()))

    def ask(one: acknowledgements.Acknowledgement) -> tuple[dict[str, Any] | None, str]:
        name = {"transaction_id": one.transaction_id}
        fields = {**name, "bill_number": one.bill_number, "rrn": one.rrn}
        try:
            return {"posting": "none", **talk.receipt(fields), **name}, ""
        except (Unmet, Unable) as trouble:
            return None, str(trouble)

    chosen = list(heard.values())[:ASKED_MAX]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, chosen))
    lines = [msgspec.json.encode(answer) + b"\n" for answer, _ in answers if answer is not None]
    out.write_bytes(b"".join(lines))
    return Receipts(len(heard), len(chosen), tuple(why for _, why in answers if why)[:5])
