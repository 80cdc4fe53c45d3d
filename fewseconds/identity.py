"""Who and what: consumers, bills, addresses, transaction ids and money in whole paise."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import chance
from fewseconds.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TRANSACTION_ID_LENGTH: Final = 35
RRN_LENGTH: Final = 12
IST: Final = dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")

_VPA = re.compile(r"[A-Za-z0-9.\-_]{2,256}@[A-Za-z][A-Za-z0-9]{1,63}")
_RUPEES = re.compile(r"(0|[1-9][0-9]{0,11})(?:\.([0-9]{1,2}))?")


class Consumer(msgspec.Struct, frozen=True):
    """One electricity consumer; every field is synthetic and follows from (seed, index)."""

    index: int
    number: str
    """Consumer number as printed on the bill: 10 digits."""
    name: str
    """As printed on the bill, in Latin script."""
    name_local: str
    """The same person in Devanagari, or the Latin name where no other is given."""
    address: str
    phone: str
    """``+91`` and ten digits of a kind that is not allotted to subscribers."""
    category: str
    """``residential``, ``commercial`` or ``industrial``."""


class Bill(msgspec.Struct, frozen=True):
    """One bill of one consumer for one month."""

    index: int
    number: str
    """Bill number, 14 digits; also the transaction reference (``tr``) that the QR carries."""
    consumer: str
    amount_paise: int
    units_kwh: int
    issued_on: dt.date
    due_on: dt.date
    phone: str = ""
    """Where the SMS about it goes, if that is not the phone of consumer ``index``."""


def rupees(amount_paise: int) -> str:
    """Write paise as decimal rupees with two places: ``383200`` becomes ``'3832.00'``."""
    sign = "-" if amount_paise < 0 else ""
    whole, part = divmod(abs(amount_paise), 100)
    return f"{sign}{whole}.{part:02d}"


def rupees_grouped(amount_paise: int) -> str:
    """Write paise for people, with Indian digit groups: ``₹1,23,456.70``."""
    whole, part = rupees(abs(amount_paise)).split(".")
    head, tail = whole[:-3], whole[-3:]
    groups = [head[max(0, end - 2) : end] for end in range(len(head), 0, -2)][::-1]
    sign = "-" if amount_paise < 0 else ""
    return f"{sign}₹{','.join([*groups, tail])}.{part}"


def paise(amount_rupees: str) -> int:
    """Read decimal rupees (``'3832.5'``) as paise.

    Raises MalformedError for signs, exponents, digits of other scripts, more than two places.
    """
    match = _RUPEES.fullmatch(amount_rupees) if amount_rupees.isascii() else None
    if match is None:
        raise MalformedError("am", f"{amount_rupees!r} is not an amount; write rupees as '3832.50'")
    return int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0"))


def checked_vpa(vpa: str) -> str:
    """Return ``vpa`` unchanged if it is a virtual payment address, else raise MalformedError."""
    if _VPA.fullmatch(vpa) is None:
        raise MalformedError("pa", f"{vpa!r} is not a payment address; write 'name@handle'")
    return vpa


def transaction_id(prefix: str, seed: int, journey_id: int, attempt: int) -> str:
    """The 35-character UPI transaction id of one payment attempt, led by the PSP's ``prefix``."""
    body = []
    for draw in _drawers(seed)(journey_id, attempt):
        # Five characters of base 62 (29.8 bits) come out of each 32-bit draw.
        word = draw
        for _ in range(5):
            body.append(ALPHABET[word % 62])
            word //= 62
    return (prefix + "".join(body))[:TRANSACTION_ID_LENGTH]


@lru_cache(maxsize=8)
def _drawers(seed: int) -> Callable[[int, int], tuple[int, ...]]:
    """The draws that the blocks of a transaction id come from."""
    blocks = range(0, TRANSACTION_ID_LENGTH, 5)
    return chance.drawers(
        [chance.key(seed, chance.stream("transaction_id", block)) for block in blocks]
    )


def masked(name: str) -> str:
    """A name as a payer sees it before paying: the first two letters of each word, then dots."""
    return " ".join([word[:2] + "•" * (len(word) - 2) for word in name.split()])
