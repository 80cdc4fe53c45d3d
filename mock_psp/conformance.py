"""A conversation with somebody's biller in which each sentence has one right answer.

:class:`Conversation` speaks through an adapter, as one payee PSP with one payer after another;
:mod:`mock_psp.conformance_cases` holds what is said and what must come back.
"""

from __future__ import annotations

import http.client
import itertools
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from fewseconds.errors import HarnessError, MalformedError
from fewseconds.identity import ALPHABET, TRANSACTION_ID_LENGTH
from mock_psp.adapter import Reading, tls_context, with_rupees
from mock_psp.clock import wall_s
from mock_psp.delivery import SIGNATURES, Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.identity import Bill
    from mock_psp.adapter import Adapter, Request

TIMEOUT_S: Final = 10
ANSWER_BYTES_MAX: Final = 1 << 20
DECLINED_MAX: Final = 50
"""More than one check of a biller pays, so that a second one gets past them."""
PAYER: Final = "conformance@examplebank"


class Unmet(Exception):  # noqa: N818 - the biller's fault, not ours
    """The biller did something else than expected; the message says what."""


class Unable(Exception):  # noqa: N818 - nobody's fault
    """The case cannot be put to this biller; the message says why."""


class Exhausted(Unable):
    """There are no more bills to put it with."""


class Conversation:
    """One payee PSP that talks to a biller, one case at a time."""

    def __init__(
        self,
        url: str,
        adapter: Adapter,
        secret: str,
        bills: Iterator[Bill],
        expired: Bill | None = None,
    ) -> None:
        """``bills`` are open bills, each used for one case; ``expired`` is long overdue."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._secure, self._prefix = parts.scheme == "https", parts.path.rstrip("/")
        self.adapter, self.secret = adapter, secret
        self._bills, self.expired = bills, expired
        self._declined, self._found = 0, False
        """Bills that were declined one after the other, although they are said to be open; and
        whether there was ever one that was not."""
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    # --- what a case needs --------------------------------------------------------------------

    def fresh_bill(self) -> Bill:
        """A bill that nobody has paid; raises Exhausted when there is none left.

        Bills that an earlier check has paid are passed over. Raises Unmet if too many in a row are
        declined: it is the biller, and not the bills, then.
        """
        while self._declined < DECLINED_MAX:
            bill = next(self._bills, None)
            if bill is None and (self._found or not self._declined):
                raise Exhausted("no open bill is left; give more with --bills")
            if bill is None:
                break
            if not self.adapter.speaks("authorise"):
                return bill
            if self.authorised(bill, self.transaction_id()):
                self._declined, self._found = 0, True
                return bill
            self._declined += 1
        raise Unmet(
            f"{self._declined} bills in a row may not be paid at their amounts; name open bills of "
            "this biller with --bills"
        )

    def transaction_id(self) -> str:
        """A new transaction id of the right form."""
        tail = "".join(secrets.choice(ALPHABET) for _ in range(TRANSACTION_ID_LENGTH - 3))
        return f"FWS{tail}"

    def payment(self, bill: Bill, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields
        """The fields of a successful payment of a bill."""
        number = next(self._numbers)
        return {
            "event_id": f"evt_{self._run}_{number}",
            "transaction_id": self.transaction_id(),
            "rrn": f"{secrets.randbelow(10**12):012d}",
            "status": "SUCCESS",
            "code": "00",
            "bill_number": bill.number,
            "amount_paise": bill.amount_paise,
            "payer_vpa": PAYER,
            **changes,
        }

    def authorised(self, bill: Bill, transaction_id: str, amount_paise: int | None = None) -> bool:
        """Whether the biller lets a payment go ahead."""
        fields = {
            "transaction_id": transaction_id,
            "bill_number": bill.number,
            "amount_paise": bill.amount_paise if amount_paise is None else amount_paise,
        }
        reading = self.ask("authorise", fields)
        return reading.accepted and bool(reading.fields.get("approved", True))

    def notify(
        self,
        payment: dict[str, Any],
        *,
        age_s: int = 0,
        secret: str | None = None,
        signed: bool = True,
        sent_instead: bytes | None = None,
        operation: str = "callback",
    ) -> Reading:
        """Send a callback: as it should be, or too old, wrongly signed, or changed after that."""
        request = self.adapter.request(operation, with_rupees(payment))
        sign = SIGNATURES[self.adapter.signature]
        event = Event(payment["event_id"], request.body, wall_s() - age_s)
        headers = sign(self.secret if secret is None else secret, event) if signed else {}
        body = request.body if sent_instead is None else sent_instead
        changed = msgspec.structs.replace(
            request, headers=request.headers | headers, body=body
        )  # fmt: skip
        return self._read(operation, changed)

    def give_back(self, payment: dict[str, Any]) -> Reading:
        """Tell the biller that the whole of a payment has been given back; raises Unable."""
        if not self.adapter.speaks("refund"):
            raise Unable("the adapter has no [refund], so the biller cannot be told of one")
        refund_id = f"rfnd_{self._run}{next(self._numbers)}"
        told = {"refund_id": refund_id, "event_id": f"evt_{refund_id}", "created_s": wall_s()}
        return self.notify(payment | told, operation="refund")

    def body(self, payment: dict[str, Any]) -> bytes:
        """The bytes of a callback as they are signed."""
        return self.adapter.request("callback", with_rupees(payment)).body

    def ask(self, operation: str, fields: dict[str, Any]) -> Reading:
        """Carry out one operation."""
        return self._read(operation, self.adapter.request(operation, with_rupees(fields)))

    def posting(self, payment: dict[str, Any]) -> str:
        """What the biller says has become of a payment: ``credited``, ``refund_due``, ``none``.

        Raises Unable if the adapter has no receipt, so that nobody can tell.
        """
        return str(self.receipt(payment).get("posting") or "none")

    def receipt(self, payment: dict[str, Any]) -> dict[str, Any]:
        """The fields of a payment's receipt; nothing if there is no receipt."""
        if not self.adapter.speaks("receipt"):
            raise Unable("the adapter has no [receipt], so nobody can tell what was posted")
        reading = self.ask("receipt", payment)
        return {"posting": "credited", **reading.fields} if reading.accepted else {}

    def at_once(self, payments: list[dict[str, Any]]) -> list[Reading]:
        """Send several callbacks at the same moment."""
        with ThreadPoolExecutor(len(payments)) as pool:
            return list(pool.map(self.notify, payments))

    # --- the wire -----------------------------------------------------------------------------

    def _read(self, operation: str, request: Request) -> Reading:
        status, body = self._exchange(request)
        try:
            return self.adapter.read(operation, status, body)
        except MalformedError as error:
            raise Unmet(str(error)) from None

    def _exchange(self, request: Request) -> tuple[int, bytes]:
        connection: http.client.HTTPConnection
        if self._secure:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_S, context=tls_context(self.adapter.tls)
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        path = self._prefix + request.path
        try:
            connection.request(request.method, path, request.body or None, request.headers)
            response = connection.getresponse()
            return response.status, response.read(ANSWER_BYTES_MAX)
        except TimeoutError:
            raise Unmet(f"{request.method} {path}: no answer within {TIMEOUT_S} s") from None
        except ConnectionRefusedError:
            place = f"{self._host}:{self._port}"
            raise HarnessError(f"{place}: nobody answers; is the biller running?") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unmet(f"{request.method} {path}: {type(error).__name__}: {error}") from None
        finally:
            connection.close()
