"""The merchant's side of the payment service: what may be done with QR codes and their money."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from fewseconds.contracts import Authorised, BillDetails
from fewseconds.identity import IST, rupees
from fixtures import keys, qr
from mock_psp import merchant_contract as m
from mock_psp.delivery import standard_key
from mock_psp.journal import Entry
from mock_psp.merchant_book import Book, Endpoint, Paid, reference_of
from mock_psp.settlement import recon
from mock_psp.webhooks import Deliveries, ForbiddenTargetError, check_target, nobody

if TYPE_CHECKING:
    from collections.abc import Callable

    from mock_psp.calendar import Calendar
    from mock_psp.journal import Journal
    from mock_psp.payments import Transaction
    from mock_psp.webhooks import Told
    from mock_psp.world import World

AMOUNT_MIN_PAISE: Final = 100
CLOSE_AFTER_MAX_S: Final = 10 * 366 * 86_400
"""Far enough for any bill, near enough for a date."""
CLOSE_AFTER_MIN_S: Final = 120
"""A QR code stays open for two minutes at least (razorpay.com/docs/api/qr-codes/create)."""
SINGLE_USE_MODE, MANY_USES_MODE = "22", "20"
"""Initiation modes (Juspay): online dynamic QR, for a code without an amount *static secure*."""
REASONS: Final = {
    "Z9": "insufficient_funds", "ZM": "incorrect_pin", "Z6": "pin_attempts_exceeded",
    "Z8": "transaction_limit_exceeded", "U16": "payment_risk_check_failed",
    "B6": "amount_mismatch", "YG": "payment_declined", "PE": "payment_expired",
}  # fmt: skip


class MerchantError(Exception):
    """A request that is answered with an error of Razorpay's form."""

    def __init__(self, description: str, *, field: str = "", status: int = 400) -> None:
        """All errors that a merchant can make have one code there."""
        super().__init__(description)
        self.status = status
        self.body = m.MerchantProblem(
            {
                "code": "BAD_REQUEST_ERROR",
                "description": description,
                "source": "business",
                "step": "payment_initiation",
                "reason": "input_validation_failed",
                "metadata": {},
                **({"field": field} if field else {}),
            }
        )


class Merchant:
    """QR codes, their payments, refunds and webhooks."""

    def __init__(
        self,
        world: World,
        calendar: Calendar,
        journal: Journal,
        payer_of: Callable[[str], str],
    ) -> None:
        """Must be made where the event loop runs. ``payer_of`` a transaction is its address."""
        self._world, self.calendar, self._journal = world, calendar, journal
        self.book = Book(world.folder, journal, payer_of)
        self.deliveries = Deliveries(self.book, calendar)
        self._key = keys.private_key(world.seed, keys.BILLER_ORGID)
        self._finish_credit()
        for refund in self.book.unmade():
            # A kill came between the order and the money: whoever ordered it may ask again.
            self._make(refund, self.paid(refund.payment_id))

    async def close(self) -> None:
        """Break off deliveries and close the book."""
        await self.deliveries.close()
        self.book.close()

    # --- QR codes ----------------------------------------------------------------------------

    def create(self, asked: m.QrCodeRequest) -> m.QrCode:
        """Make a QR code; raises MerchantError naming the field at fault."""
        now_s = self.calendar.now_s()
        _check_code(asked, now_s)
        name = m.public_id("qr", self._world.seed, len(self.book.codes), now_s)
        code = m.QrCode(
            id=name, created_at=now_s, name=asked.name, usage=asked.usage,
            image_url=f"{self._world.spec.public}{m.QR_CODES}/{name}",
            image_content=self._link(name, asked), payment_amount=asked.payment_amount,
            description=asked.description, fixed_amount=asked.fixed_amount, notes=asked.notes,
            customer_id=asked.customer_id, close_by=asked.close_by,
        )  # fmt: skip
        self.book.write(code)
        self.deliveries.emit("qr_code.created", {"qr_code": code}, name)
        return code

    def code(self, name: str) -> m.QrCode:
        """A QR code as it is now; raises MerchantError if there is none of that id."""
        found = self.book.codes.get(name)
        if found is None:
            raise MerchantError("The id provided does not exist")
        return self._closed_in_time(found)

    def shut(self, name: str) -> m.QrCode:
        """Close a QR code; raises MerchantError if it is closed."""
        code = self.code(name)
        if code.status == "closed":
            raise MerchantError("The QR Code is already closed")
        shut = self._closed(code, "on_demand")
        self.deliveries.emit("qr_code.closed", {"qr_code": shut}, name)
        return shut

    def _link(self, name: str, asked: m.QrCodeRequest) -> str:
        fields = {
            "ver": "01",
            "mode": MANY_USES_MODE if asked.payment_amount is None else SINGLE_USE_MODE,
            "purpose": "00",
            "orgid": keys.BILLER_ORGID,
            "tr": reference_of(name),
            "tn": "Payment",
            "pa": qr.PAYEE,
            "pn": asked.name or qr.PAYEE_NAME,
            "mc": "4900",
            "cu": "INR",
            "qrMedium": "06",
        }
        if asked.payment_amount is not None:
            fields["am"] = rupees(asked.payment_amount)
        return qr.signed(qr.link(fields), self._key)

    def _closed_in_time(self, code: m.QrCode) -> m.QrCode:
        due = code.close_by is not None and self.calendar.now_s() >= code.close_by
        if code.status == "closed" or not due:
            return code
        # Razorpay sends no webhook for a code that expires by itself.
        shut = msgspec.structs.replace(code, status="closed", closed_at=code.close_by)
        self.book.write(shut)
        return shut

    def _closed(self, code: m.QrCode, reason: Literal["on_demand", "paid"]) -> m.QrCode:
        shut = msgspec.structs.replace(
            code, status="closed", closed_at=self.calendar.now_s(), close_reason=reason
        )
        self.book.write(shut)
        return shut

    # --- what the payer side asks and tells --------------------------------------------------

    def owns(self, reference: str) -> bool:
        """Whether the link with this ``tr`` is one of a QR code made here."""
        return reference in self.book.by_reference

    def details(self, reference: str) -> BillDetails:
        """What the payer's screen shows for a QR code; an amount of 0 is for the payer to fill."""
        code = self._by(reference)
        today: dt.date = self._world.clock.today()
        if code.close_by is not None:
            today = dt.datetime.fromtimestamp(code.close_by, IST).date()
        return BillDetails(
            reference, code.customer_id or "", code.description or "", code.payment_amount or 0,
            today, qr.PAYEE, code.name or qr.PAYEE_NAME,
        )  # fmt: skip

    def authorisation(self, reference: str, amount_paise: int) -> Authorised:
        """May this payment of a QR code go ahead? With the codes of UPI's response lists."""
        code = self._by(reference)
        refusal = None
        if code.status == "closed":
            refusal = ("YG", "already paid") if code.close_reason == "paid" else ("PE", "closed")
        elif code.fixed_amount and amount_paise != code.payment_amount:
            refusal = "B6", "wrong amount"
        if refusal is not None:
            return Authorised(approved=False, code=refusal[0], reason=refusal[1])
        return Authorised(approved=True)

    def credited(self, transaction: Transaction) -> None:
        """Money has come in, as the journal was just told: hold the payment, tell the merchant."""
        paid = self._paid(transaction)
        self.book.paid(paid, self._journal.latest)
        self._enter(paid)

    def _enter(self, paid: Paid, *, counted: bool = False, told: Told = nobody) -> None:
        """Enter a credit with its code, unless it is ``counted``, and tell who has not been told.

        A kill may come between any two of these steps.
        """
        name = self.book.code_of(paid)
        if name is None and not self.deliveries.wanted("payment.captured"):
            return
        payment = self.payment_of(paid)
        if name is not None:
            code = self.book.codes[name]
            if not counted:
                code = msgspec.structs.replace(
                    code,
                    payments_amount_received=code.payments_amount_received + paid.amount_paise,
                    payments_count_received=code.payments_count_received + 1,
                )
                self.book.write(code)
            entities = {"payment": payment, "qr_code": code}
            self.deliveries.emit("qr_code.credited", entities, paid.id, told=told)
            if code.usage == "single_use" and code.status == "active":
                code = self._closed(code, "paid")
            if code.close_reason == "paid":
                self.deliveries.emit("qr_code.closed", {"qr_code": code}, name, told=told)
        self.deliveries.emit("payment.captured", {"payment": payment}, paid.id, told=told)

    def _finish_credit(self) -> None:
        """Finish what a kill has broken off: what follows a credit follows at once, so the last."""
        paid, book = self.book.latest, self.book
        if paid is None:
            return
        written = book.deliveries() if book.endpoints else set()

        def told(endpoint: Endpoint, delivery: str) -> bool:
            return delivery in written or endpoint.created_at > paid.created_s

        self._enter(paid, counted=book.counted, told=told)

    def failed(self, transaction: Transaction) -> None:
        """A payment has failed, as the journal was just told: the merchant sees it too."""
        paid = self._paid(transaction)
        self.book.paid(paid, self._journal.latest)
        if self.deliveries.wanted("payment.failed"):
            self.deliveries.emit("payment.failed", {"payment": self.payment_of(paid)}, paid.id)

    def _by(self, reference: str) -> m.QrCode:
        return self.code(self.book.by_reference[reference])

    def _paid(self, transaction: Transaction) -> Paid:
        request = transaction.request
        return Paid(
            transaction_id=transaction.transaction_id, rrn=transaction.rrn,
            amount_paise=request.amount_paise, reference=request.bill_number,
            payer_vpa=request.payer_vpa, created_s=self.calendar.now_s(),
            code="00" if transaction.credited else transaction.code,
        )  # fmt: skip

    # --- payments and refunds ----------------------------------------------------------------

    def payment_of(self, paid: Paid) -> m.MerchantPayment:
        """A payment in the merchant's words."""
        captured = paid.code == "00"
        whole = paid.refunded_paise == paid.amount_paise
        partly: Any = "full" if whole else "partial"
        status: Any = "failed"
        if captured:
            status = "refunded" if whole else "captured"
        reason = None if captured else REASONS.get(paid.code, "payment_failed")
        return m.MerchantPayment(
            id=paid.id, amount=paid.amount_paise, status=status, captured=captured,
            amount_refunded=paid.refunded_paise,
            refund_status=partly if paid.refunded_paise else None, description="UPI payment",
            vpa=paid.payer_vpa, error_code=None if captured else "BAD_REQUEST_ERROR",
            error_description=None if captured else f"UPI response code {paid.code}",
            error_source=None if captured else "customer",
            error_step=None if captured else "payment_authorization", error_reason=reason,
            acquirer_data={"rrn": paid.rrn, "upi_transaction_id": paid.transaction_id},
            created_at=paid.created_s,
            upi={"payer_account_type": "bank_account", "vpa": paid.payer_vpa},
            qr_code_id=self.book.code_of(paid), reference=paid.reference,
        )  # fmt: skip

    def paid(self, name: str) -> Paid:
        """A payment; raises MerchantError if there is none of that id."""
        found = self.book.payment(name)
        if found is None:
            raise MerchantError("The id provided does not exist")
        return found

    def refund(self, name: str, asked: m.RefundRequest, key: str = "") -> m.Refund:
        """Give money back, once for each idempotency key; raises MerchantError if it cannot be."""
        known = self.book.by_key.get(key) if key else None
        if known is not None:
            if known[1:] != (name, asked.amount):
                raise MerchantError("Different request sent with the same idempotency key")
            return self.book.refunds[known[0]]
        paid = self.paid(name)
        left_paise = paid.amount_paise - paid.refunded_paise
        amount_paise = left_paise if asked.amount is None else asked.amount
        if paid.code != "00":
            raise MerchantError("The payment status should be captured for refund to be possible")
        if left_paise == 0:
            raise MerchantError("The payment has been fully refunded already")
        if amount_paise < min(AMOUNT_MIN_PAISE, left_paise) or amount_paise > left_paise:
            what = "The total refund amount is greater than the refund payment amount"
            small = f"The amount must be at least INR {rupees(AMOUNT_MIN_PAISE)}"
            raise MerchantError(what if amount_paise > left_paise else small, field="amount")
        now_s = self.calendar.now_s()
        refund = m.Refund(
            id=m.public_id("rfnd", name, len(self.book.refunds)), amount=amount_paise,
            payment_id=name, notes=asked.notes, receipt=asked.receipt,
            acquirer_data={"rrn": paid.rrn}, created_at=now_s, speed_requested=asked.speed,
        )  # fmt: skip
        # The order first: a kill may lose neither its key nor, once it is there, the money.
        self.book.write(refund, key=key, asked=asked.amount)
        self._make(refund, paid)
        return refund

    def _make(self, refund: m.Refund, paid: Paid) -> None:
        """Give the money back, and tell of it."""
        paid.refunded_paise = self.book.given_back_paise(paid)
        self._journal.write(
            Entry(
                self._world.clock.now_us(), "refund", paid.transaction_id, -1, 1, refund.amount,
                paid.reference, paid.rrn, created_s=refund.created_at, reference=refund.id,
            )
        )  # fmt: skip
        told = {"refund": refund, "payment": self.payment_of(paid)}
        self.deliveries.emit("refund.processed", told, refund.id)

    def recon(self, year: int, month: int, day: int | None) -> list[m.ReconItem]:
        """The settlement file of a day or a month; reads the whole journal."""
        journal, now_s = self._world.folder.journal, self.calendar.now_s()
        return recon(journal, now_s, (year, month, day), self.book.by_reference)

    # --- webhooks ----------------------------------------------------------------------------

    def subscribe(self, asked: m.WebhookRequest) -> m.Webhook:
        """Have events sent to an address; raises MerchantError for one that may not be."""
        events = asked.events
        names = events if isinstance(events, list) else [name for name in events if events[name]]
        unknown = sorted(set(names) - set(m.EVENTS))
        if unknown or not names:
            raise MerchantError(f"Invalid event name/names: {', '.join(unknown)}", field="events")
        try:
            check_target(asked.url, self._world.spec.webhook_hosts)
            if asked.signature == "standard-webhooks":
                standard_key(asked.secret)
        except (ForbiddenTargetError, ValueError) as error:
            raise MerchantError(str(error), field="url") from None
        same = (asked.url, asked.secret, names, asked.signature, asked.schedule)
        for one in self.book.endpoints.values():
            known = (one.url, one.secret, one.events, one.signature, one.schedule)
            if one.active and known == same:
                return webhook_of(one)
        now_s = self.calendar.now_s()
        endpoint = Endpoint(
            id=m.public_id("wh", len(self.book.endpoints), now_s, asked.url).removeprefix("wh_"),
            created_at=now_s, url=asked.url, secret=asked.secret, events=names,
            active=asked.active, signature=asked.signature, schedule=asked.schedule,
        )  # fmt: skip
        self.book.write(endpoint)
        return webhook_of(endpoint)

    def unsubscribe(self, name: str) -> m.Webhook:
        """Send nothing more to an address; raises MerchantError if there is none of that id."""
        endpoint = self.book.endpoints.get(name)
        if endpoint is None:
            raise MerchantError("The id provided does not exist")
        shut = msgspec.structs.replace(endpoint, active=False)
        self.book.write(shut)
        return webhook_of(shut)


def webhook_of(endpoint: Endpoint) -> m.Webhook:
    """An endpoint as the merchant sees it: without its secret."""
    return m.Webhook(
        id=endpoint.id, created_at=endpoint.created_at, url=endpoint.url, events=endpoint.events,
        active=endpoint.active, signature=endpoint.signature, schedule=endpoint.schedule,
    )  # fmt: skip


def _check_code(asked: m.QrCodeRequest, now_s: int) -> None:
    amount = asked.payment_amount
    if asked.fixed_amount and amount is None:
        raise MerchantError("The payment amount field is required", field="payment_amount")
    if amount is not None and not asked.fixed_amount:
        raise MerchantError("payment_amount needs fixed_amount to be true", field="payment_amount")
    if amount is not None and amount < AMOUNT_MIN_PAISE:
        raise MerchantError("The amount must be at least INR 1.00", field="payment_amount")
    if asked.close_by is not None and asked.close_by < now_s + CLOSE_AFTER_MIN_S:
        raise MerchantError("close_by should be at least 2 minutes after now", field="close_by")
    if asked.close_by is not None and asked.close_by > now_s + CLOSE_AFTER_MAX_S:
        raise MerchantError("close_by should be at most 10 years after now", field="close_by")
    if len(asked.notes) > m.NOTES_MAX:
        raise MerchantError(f"Number of fields in notes should be <= {m.NOTES_MAX}", field="notes")
    for name in ("name", "description", "customer_id"):
        if len(getattr(asked, name) or "") > m.TEXT_LENGTH_MAX:
            raise MerchantError(f"The {name} may not be greater than 256 characters", field=name)
