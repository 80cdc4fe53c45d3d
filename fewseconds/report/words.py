"""Numbers, codes and laws in the words that people use; every word of a report is chosen here."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fewseconds.law import Law
    from fewseconds.slo import Verdict
    from fewseconds.station import Failure

NBSP: Final = "\N{NO-BREAK SPACE}"
NOTHING: Final = "–"
IST: Final = dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")

MEASURES: Final = {
    "machine_time": "scan, resolve and pay, with every retry; people's own time left out",
    "end_to_end": "camera pointed at the QR until the confirmation on the screen, people included",
    "sms_time": "Pay pressed until the SMS is on the handset",
    "portal_time": "portal opened until the confirmation on the screen",
    "error_rate": "share of the journeys that the system failed",
    "biller_time": "one visit at the biller",
    "faster_than_portal": "share of consumers whom the QR serves faster than the portal would",
}
SHARES: Final = ("error_rate", "faster_than_portal")
"""Measures that are shares; all others are seconds."""
SHARE_MIN: Final = 1e-9
"""No city pays so often that one payment is a smaller share: less is dust of the arithmetic."""

STEPS: Final = {
    "open_app": "Open the app",
    "scan": "Scan the QR",
    "put_aside": "Put somebody else's bill aside",
    "scan_again": "Scan the right bill",
    "type_number": "Type the number instead",
    "type_again": "Correct the number",
    "resolve": "Look the bill up",
    "review": "Read and press Pay",
    "enter_pin": "Enter the PIN",
    "pay": "Pay",
    "check_status": "Ask what became of it",
    "ask_switch": "Ask the switch",
    "reversal": "Reverse the debit",
    "callback": "Callback and posting",
    "sms": "SMS reaches the handset",
    "find_biller": "Find the biller",
    "fetch_bill": "Fetch the bill",
    "pay_bill": "Pay in the app",
    "check_bill_payment": "Ask what became of it",
    "ask_switch_again": "Ask the switch",
    "bill_reversal": "Reverse the debit",
    "post_receipt": "Post the receipt",
    "bill_sms": "SMS reaches the handset",
    "open_portal": "Open the portal",
    "fill_registration": "Fill in the registration",
    "register": "Register",
    "fill_log_in": "Fill in the log-in",
    "log_in": "Log in",
    "find_bill": "Find the bill",
    "fill_payment": "Fill in the payment",
    "stand_in_line": "Stand in line",
    "cash_posting": "Post the cash",
}
DETOURS: Final = ("put_aside", "scan_again", "type_number", "type_again")
"""Steps around a code that was not read, or not the right one."""
KINDS: Final = {
    "qr_ebill": "QR on the bill",
    "qr_counter": "QR at the counter",
    "portal": "Portal, known to it",
    "portal_first": "Portal, first time",
    "other_digital": "Inside apps",
    "counter_cash": "Cash at the counter",
}
MEDIA: Final = {
    "laser_print": "laser print",
    "thermal_print": "slip of thermal paper",
    "laptop_screen": "laptop screen",
    "phone_screen": "another phone's screen",
    "same_phone": "picture on the same phone",
    "placard": "placard at the counter",
}
FATES: Final = {
    "confirmed": "confirmed",
    "declined": "declined",
    "left": "gave up",
    "failed": "failed",
    "dropped": "dropped",
    "unfinished": "unfinished",
    "unexplained": "unexplained",
}
OUTCOMES: Final = {
    "ok": "went well",
    "declined": "declined",
    "timed_out": "timed out",
    "reneged": "gave up waiting",
    "rejected": "turned away",
    "dropped": "never started by the load generator",
    "error": "failed",
    "unfinished": "still pending at the end",
}
CODES: Final = {
    # UPI response codes as in the public tables of Juspay and of HDFC's SmartGateway.
    "01": "still pending",
    "RB": "pending: credit not answered in time",
    "U16": "risk threshold exceeded",
    "U30": "debit failed",
    "U66": "device does not match",
    "U67": "debit timed out, reversed",
    "U68": "credit timed out",
    "U69": "request expired",
    "U78": "beneficiary bank offline",
    "XY": "remitter bank offline",
    "Y1": "beneficiary bank offline",
    "YG": "biller refused",
    "PE": "bill expired",
    "B6": "details do not match",
    "Z6": "too many wrong PINs",
    "Z7": "too many payments",
    "Z8": "limit per payment exceeded",
    "Z9": "insufficient funds",
    "ZA": "declined by the payer",
    "ZH": "address unknown",
    "ZM": "wrong PIN",
    # Our own.
    "cut_off": "still open at the cut-off",
    "in_flight_max": "more journeys open than allowed",
    "lost": "lost on the way",
    "no_bill": "no bill was shown",
    "no_sms": "no SMS came",
    "queue_full": "queue full",
    "undelivered": "accepted, never delivered",
    "unread": "QR not read",
}
LAWS: Final = {
    "constant": "always {value_ms}",
    "uniform": "anything from {low_ms} to {high_ms}",
    "exponential": "exponential, mean {mean_ms}",
    "lognormal": "lognormal, median {median_ms}, 95th percentile {p95_ms}",
}


def label(name: str, known: dict[str, str]) -> str:
    """The words for ``name``, or the name itself without its underscores."""
    return known.get(name) or name.replace("_", " ")


def seconds(value: float | None) -> str:
    """A duration in seconds as people say it: ``253 ms``, ``2.8 s``, ``1 min 35 s``, ``never``."""
    if value is None:
        return NOTHING
    if math.isinf(value):
        return "never"
    size = abs(value)
    if size < 0.01:  # noqa: PLR2004 - below ten milliseconds tenths of them matter
        return f"{value * 1000:.1f}{NBSP}ms" if value else f"0{NBSP}ms"
    if round(size * 1000) < 1000:  # noqa: PLR2004 - one second
        return f"{value * 1000:.0f}{NBSP}ms"
    if round(size, 1) < 100:  # noqa: PLR2004 - more than that is said in minutes
        return f"{value:.1f}{NBSP}s"
    minutes, rest = divmod(round(size), 60)
    sign = "-" if value < 0 else ""
    return f"{sign}{minutes}{NBSP}min" + (f"{NBSP}{rest}{NBSP}s" if rest else "")


def change(value: float | None) -> str:
    """A difference of durations in seconds, with its sign."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = seconds(abs(value))
    if not any(digit in size for digit in "123456789"):
        return f"±0{NBSP}ms"
    return ("+" if value > 0 else "−") + size


def points(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = f"{100 * abs(value):.2f}"
    if not size.strip("0."):
        return "±0"
    return ("+" if value > 0 else "−") + size


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; whole numbers lose their decimals, and little is not nothing."""
    if value is None:
        return NOTHING
    if abs(value) < SHARE_MIN:
        return f"0{NBSP}%"
    text = f"{100 * value:.{digits}f}"
    if not text.strip("-0."):
        return f"{Decimal(f'{100 * value:.1g}'):f}{NBSP}%"
    return f"{text.removesuffix('.' + '0' * digits)}{NBSP}%"


def quantity(measure: str, value: float | None) -> str:
    """A value of ``measure``: a share or a duration."""
    return percent(value) if measure in SHARES else seconds(value)


def limit(verdict: Verdict) -> str:
    """The limit of an objective: ``at most 5 s``."""
    if verdict.measure in SHARES:
        text = percent(verdict.limit)
    elif verdict.limit < 1:
        text = f"{verdict.limit * 1000:g}{NBSP}ms"
    else:
        text = f"{verdict.limit:g}{NBSP}s"
    return f"{'at least' if verdict.at_least else 'at most'} {text}"


def interval(verdict: Verdict) -> str:
    """The 95 % interval of an observation; an open end is said to be open."""
    if verdict.observed is None or (verdict.low is None and verdict.high is None):
        return ""
    if verdict.low is not None and math.isinf(verdict.low):
        return ""
    if verdict.high is None or math.isinf(verdict.high):
        return f"{quantity(verdict.measure, verdict.low)} or more"
    if verdict.low is None:
        return f"up to {quantity(verdict.measure, verdict.high)}"
    low, high = quantity(verdict.measure, verdict.low), quantity(verdict.measure, verdict.high)
    (start, _, unit), (end, _, same) = low.rpartition(NBSP), high.rpartition(NBSP)
    # "2.7 to 2.9 s", but "950 ms to 1.2 s" and "2 min 5 s to 3 min".
    short = unit == same and NBSP not in start + end
    return f"{start} to {end}{NBSP}{unit}" if short else f"{low} to {high}"


def margin(verdict: Verdict) -> str:
    """How far an observation lies from its limit: ``36 % inside`` or ``10 % beyond``."""
    if verdict.margin is None:
        return ""
    if verdict.margin < -2:  # noqa: PLR2004 - from thrice the limit on, per cent tell nothing
        return f"{1 - verdict.margin:.0f} times"
    side = "inside" if verdict.margin >= 0 else "beyond"
    return f"{abs(verdict.margin) * 100:.0f}{NBSP}% {side}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: ``1 journey``, ``1 234 journeys``."""
    return f"{whole(number)} {one if number == 1 else many or one + 's'}"


def whole(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}".replace(",", NBSP)


def rupees(paise: int) -> str:
    """A sum of money as India says it: ``₹9,876``, ``₹12.3 lakh``, ``₹352.1 crore``."""
    for size_paise, name in ((10**9, "crore"), (10**7, "lakh")):
        if abs(paise) >= size_paise:
            return f"₹{paise / size_paise:,.1f}{NBSP}{name}"
    return f"₹{paise / 100:,.0f}"


def paid(paise: Mapping[str, Mapping[str, int]]) -> str:
    """How much of some bills was paid; paise by kind of journey and end."""
    whole_paise = sum(sum(ends.values()) for ends in paise.values())
    confirmed_paise = sum(ends.get("confirmed", 0) for ends in paise.values())
    share = percent(confirmed_paise / whole_paise) if whole_paise else NOTHING
    return f"{rupees(confirmed_paise)} of {rupees(whole_paise)} paid, {share}"


def loss(outcome: str, code: str) -> str:
    """How something went wrong, with the code behind it: ``declined: wrong PIN (ZM)``."""
    what = label(outcome, OUTCOMES)
    if not code:
        return what
    return f"{what}: {CODES[code]} ({code})" if code in CODES else f"{what} ({code})"


def law(service_time: Law, factor: float = 1.0) -> str:
    """A law of time in words; ``factor`` says by how much it is slowed down on purpose."""

    def duration(value_ms: float | None) -> str:
        return seconds(None if value_ms is None else value_ms / 1000)

    if service_time.law == "quantiles":
        points = service_time.points or ()
        text = ", ".join(f"{percent(share, 0)} within {duration(ms)}" for share, ms in points[1:])
    else:
        names = ("value_ms", "low_ms", "high_ms", "mean_ms", "median_ms", "p95_ms")
        values = {name: duration(getattr(service_time, name)) for name in names}
        text = LAWS[service_time.law].format(**values)
    if service_time.max_ms is not None:
        text += f", cut at {duration(service_time.max_ms)}"
    return text if factor == 1 else f"{text}; slowed {factor:g} times on purpose"


def failure(table: Failure) -> str:
    """A way to fail in words."""
    return f"{percent(table.share, 2)} {loss(table.outcome, table.code)}"


def plan_moment(first_day: dt.date, moment_us: int) -> dt.datetime:
    """The moment of the plan's calendar that lies ``moment_us`` after its first midnight."""
    midnight = dt.datetime.combine(first_day, dt.time(), IST)
    return midnight + dt.timedelta(microseconds=moment_us)
