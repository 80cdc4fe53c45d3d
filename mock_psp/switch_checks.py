"""How often the switch may be asked what became of a payment, and how often it was.

An app that asks its payment service is no matter of the switch: the service answers from what it
knows, as often as it likes. What the switch limits is the service's own question (``ReqChkTxn``):
the first one 45-60 s after the payment at the earliest, three in two hours at most (NPCI circular
of 26 April 2025). Both figures are the scenario's, in ``[steps.ask_switch]``: its delay and its
number of attempts. They hold for the questions of that step and for those that a test asks for, and
after a restart as before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fewseconds.journey import Route
    from mock_psp.calendar import Calendar

STEP: Final = "ask_switch"
CHECKS_WITHIN_S: Final = 7200
"""Two hours (NPCI circular of 26 April 2025)."""
FORGET_ABOVE: Final = 10_000
TOO_MANY_CHECKS: Final = "U86"
"""UPI response code *remitter throttling decline*: a check that comes too early or too often."""


class SwitchChecks:
    """When the switch was asked about which payment, as far as it still counts."""

    def __init__(self, calendar: Calendar) -> None:
        """Nobody has asked yet."""
        self._calendar = calendar
        self._asked_s: dict[str, list[int]] = {}

    def note(self, transaction_id: str, asked_s: int) -> None:
        """The switch was asked at ``asked_s``, seconds since 1970 on the calendar."""
        since_s = self._calendar.now_s() - CHECKS_WITHIN_S
        if len(self._asked_s) > FORGET_ABOVE:
            latest = self._asked_s.items()
            self._asked_s = {name: told for name, told in latest if told[-1] > since_s}
        earlier = self._asked_s.get(transaction_id, [])
        self._asked_s[transaction_id] = [*(one for one in earlier if one > since_s), asked_s]

    def count(self, transaction_id: str) -> int:
        """How often the switch was asked within the last two hours."""
        since_s = self._calendar.now_s() - CHECKS_WITHIN_S
        return sum(one > since_s for one in self._asked_s.get(transaction_id, ()))

    def refusal(self, transaction_id: str, paid_s: int, route: Route) -> str:
        """Why the switch may not be asked about a payment now; empty if it may.

        ``paid_s`` is when Pay was pressed, by the calendar. Raises KeyError if nobody asks the
        switch in that kind of journey.
        """
        step = route.steps[route.index(STEP)]
        first_s = step.delay_ms // 1000
        if self._calendar.now_s() < paid_s + first_s:
            return f"the first check comes {first_s} s after the payment"
        if self.count(transaction_id) >= step.attempts_max:
            return f"{step.attempts_max} checks were made within {CHECKS_WITHIN_S // 3600} hours"
        return ""
