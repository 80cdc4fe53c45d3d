"""What a consumer does in real time: look, scan, press Pay, wait for the SMS.

The rules (which step follows, when to try again, when to give up) are the scenario's, through the
same ``next_move`` as in virtual time; only how a step is done differs. Steps that people or the
camera do have a length that is known exactly, so the step after them is *intended* at that very
moment: whatever our own processor adds is charged to the next step, never lost.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import gevent

from fewseconds import chance
from fewseconds import contracts as c
from fewseconds import journey as j
from fewseconds.acknowledgements import Acknowledgement
from fewseconds.identity import paise
from fewseconds.outcomes import Outcome
from fewseconds.payer_app import WALLET
from fewseconds.scenario import SAME_PHONE
from fixtures import funding
from fixtures.consumers import consumer_number
from loadtests.client import Answer
from loadtests.spec import SCANS

if TYPE_CHECKING:
    from fewseconds.plan import Row, Traits
    from loadtests.world import World

REQUEST_TIMEOUT_S: Final = 60.0
"""Longer than any limit inside the chain, so that the chain's own limits speak first."""
STRANGE_CODES: Final = ("not_noticed",)
"""Slips after which the bill of somebody else is paid."""
STRANGER: Final = chance.stream("phone", "stranger")
INBOX_POLL_MS: Final = 20_000
_AMOUNT: Final = re.compile(r"[?&]am=([0-9]{1,10}(?:\.[0-9]{1,2})?)(?:&|$)")


def printed_paise(scanned: str) -> int:
    """The amount that a scanned link asks for; 0 if nothing was scanned, or no amount is in it."""
    found = _AMOUNT.search(scanned)
    return paise(found[1]) if found else 0


class Done(NamedTuple):
    """How an attempt ended, and when: logically, which may lie a little before now."""

    outcome: str
    code: str
    end_us: int


class Place(NamedTuple):
    """The attempt that is under way."""

    branch: str
    step: str
    attempt: int
    due_us: int
    start_us: int


class Phone:
    """One consumer's phone; the object is used again for the next consumer."""

    def __init__(self, world: World) -> None:
        """Belong to nobody yet."""
        self.world = world

    def take(self, row: Row) -> None:
        """Become the phone of the consumer of ``row``."""
        self.row = row
        self.traits: Traits = funding.traits(self.world.scenario, self.world.seed, row)
        self.scanned = ""
        self.strange = False
        self.details: c.BillDetails | None = None
        self.transaction = ""
        self.session = ""
        first = self.world.routes[row.kind, row.app].steps[0].name
        self.at = Place("main", first, 1, row.intended_start_us, row.intended_start_us)

    def journey(self, cut_off_us: int) -> None:
        """Walk the consumer's journey to its end, or to the cut-off, and write what happened."""
        confirmed_us = self.main_branch(self.row, cut_off_us)
        # Without a gateway to ask, the confirmation is the end.
        if confirmed_us is not None and "sms" in self.world.clients:
            self.wait_for_sms(confirmed_us, cut_off_us)

    def main_branch(self, row: Row, cut_off_us: int) -> int | None:
        """Walk to the confirmation; returns its time, or None if there was none."""
        world, route = self.world, self.world.routes[row.kind, row.app]
        step, attempt, first_start_us = 0, 1, 0
        delay_us, due_us = route.rules[j.DELAY_US], row.intended_start_us
        while True:
            # After a wait the attempt is on time by definition of the wait's end, and nobody waits
            # beyond the cut-off.
            start_us = world.clock.now_us()
            if delay_us > 0:
                start_us = max(min(due_us + delay_us, cut_off_us), due_us)
            if attempt == 1:
                first_start_us = start_us
            self.at = Place("main", route.steps[step].name, attempt, due_us, start_us)
            self.sleep_until(start_us)
            if start_us >= cut_off_us:
                self.write(Done("unfinished", "cut_off", start_us))
                return None
            done = self.attempt(route, step, attempt, start_us)
            self.write(done)
            draw = world.draws.move_draw(route.move_streams, step, attempt, row.journey_id)
            outcome = j.OUTCOMES.index(done.outcome)
            following, delay_us = j.next_move(
                route.rules, step, attempt, outcome, done.end_us - first_start_us, draw
            )
            if following == j.END:
                return done.end_us if done.outcome == "ok" else None
            attempt = attempt + 1 if following == step else 1
            step, due_us = following, done.end_us

    def attempt(self, route: j.Route, step: int, attempt: int, start_us: int) -> Done:
        """Do one attempt of a step in the way of its kind."""
        table = route.steps[step]
        if table.clock == "human":
            done = self.by_person(table, attempt, start_us)
            self.sleep_until(done.end_us)
            return done
        if table.name in SCANS:
            return self.scan(table, attempt, start_us)
        answer: Answer = getattr(self, table.name)(attempt)
        return Done(answer.outcome, answer.code, self.world.clock.now_us())

    # --- steps -------------------------------------------------------------------------------

    def by_person(self, table: j.Step, attempt: int, start_us: int) -> Done:
        """What the person at the phone does, for as long as the scenario says; people err too."""
        end_us, journey_id = start_us, self.row.journey_id
        for index, leg in enumerate(table.legs):
            visit = self.world.draws.visit(table.name, index, leg.station, self.traits)
            end_us += visit.service_us(journey_id, attempt)
            failure = visit.failure(journey_id, attempt)
            if failure is not None:
                self.strange = failure.code in STRANGE_CODES
                return Done(failure.outcome, failure.code, end_us)
        self.strange = False
        return Done("ok", "", end_us)

    def scan(self, table: j.Step, attempt: int, start_us: int) -> Done:
        """One frame: charged is the decoder's own time, not the wait for our processor.

        Whether a frame can be read is not drawn, it was seen; whether it is the right code that
        lies before the camera is up to the person.
        """
        scan = self.world.scans.of(self.row)
        if attempt > len(scan.decode_us):
            return Done("error", "unread", start_us)
        end_us = start_us + scan.decode_us[attempt - 1]
        self.sleep_until(end_us)
        if attempt < len(scan.decode_us) or scan.text is None:
            return Done("error", "unread", end_us)
        for index, leg in enumerate(table.legs):
            if self.world.scenario.stations[leg.station].role == "human":
                visit = self.world.draws.visit(table.name, index, leg.station, self.traits)
                if (failure := visit.failure(self.row.journey_id, attempt)) is not None:
                    return Done(failure.outcome, failure.code, end_us)
        self.scanned = scan.text
        return Done("ok", scan.decoder, end_us)

    def resolve(self, attempt: int) -> Answer:
        """Send what was scanned (or typed) and see the bill's details."""
        number = "" if self.scanned else self.typed()
        request = c.ResolveRequest(self.row.app, self.scanned, number)
        answer = self.ask("psp", "POST", c.RESOLVE, c.BillDetails, "resolve", attempt, request)
        if answer.outcome == "ok":
            self.details = answer.message
        return answer

    def typed(self) -> str:
        """The consumer number that is typed where no code was read."""
        if self.world.bills:
            # Nobody else's bill is in the list to be paid by mistake.
            return self.world.bill(self.row).consumer
        return consumer_number(self.shown())

    def shown(self) -> int:
        """The consumer whose bill comes up: a stranger's, if that was not noticed."""
        if not self.strange:
            return self.row.consumer
        draw = chance.uniform(self.world.seed, STRANGER, self.row.consumer, 1)
        return int(draw) * self.world.scenario.consumers >> 32

    def pay(self, attempt: int) -> Answer:
        """Press Pay with the amount that the screen shows."""
        details = self.details
        if details is None:
            return Answer("error", "no_bill")
        wallet = self.traits.account == WALLET
        request = c.PayRequest(
            app=self.row.app,
            payer_vpa=f"payer{self.row.consumer}@{self.row.bank.lower()}",
            payer_bank=self.row.bank,
            payee_vpa=details.payee_vpa,
            bill_number=details.bill_number,
            amount_paise=details.amount_paise,
            pin="" if wallet else "4821",
            scanned=self.scanned,
            from_gallery=bool(self.scanned) and self.row.medium == SAME_PHONE,
            funding="wallet" if wallet else "account",
        )
        answer = self.ask("psp", "POST", c.PAY, c.Payment, "pay", attempt, request)
        return self.seen(answer, attempt)

    def check_status(self, attempt: int) -> Answer:
        """Ask the app what became of the payment."""
        path = f"{c.PAYMENTS}/{self.transaction}"
        answer = self.ask("psp", "GET", path, c.Payment, "check_status", attempt)
        return self.seen(answer, attempt)

    def seen(self, answer: Answer, attempt: int) -> Answer:
        """Read the state of a payment off the screen."""
        if answer.outcome != "ok":
            return answer
        payment: c.Payment = answer.message
        self.transaction = payment.transaction_id
        if self.world.told is not None:
            self.world.told.add(
                Acknowledgement(
                    self.world.clock.now_us(), self.row.journey_id, attempt,
                    payment.transaction_id, payment.bill_number, payment.amount_paise,
                    printed_paise(self.scanned), payment.status, payment.code, payment.rrn,
                )
            )  # fmt: skip
        return Answer(c.outcome_of(payment), payment.code if payment.status != "SUCCESS" else "")

    def register(self, attempt: int) -> Answer:
        """Open an account at the old portal."""
        number = consumer_number(self.row.consumer)
        password = c.portal_password(self.world.seed, self.row.consumer)
        account = c.PortalAccount(number, password, number)
        return self.ask("portal", "POST", c.PORTAL_REGISTER, Any, "register", attempt, account)

    def log_in(self, attempt: int) -> Answer:
        """Log in at the old portal."""
        password = c.portal_password(self.world.seed, self.row.consumer)
        credentials = c.PortalLogIn(consumer_number(self.row.consumer), password)
        answer = self.ask(
            "portal", "POST", c.PORTAL_LOG_IN, c.PortalSession, "log_in", attempt, credentials
        )
        if answer.outcome == "ok":
            self.session = answer.message.token
        return answer

    def find_bill(self, attempt: int) -> Answer:
        """Look the bill up at the old portal."""
        headers = {"authorization": f"Bearer {self.session}"}
        answer = self.ask(
            "portal", "GET", c.PORTAL_BILL, c.BillDetails, "find_bill", attempt, headers=headers
        )
        if answer.outcome == "ok":
            self.details = answer.message
        return answer

    def wait_for_sms(self, confirmed_us: int, cut_off_us: int) -> None:
        """Hold the phone until the SMS is there, or until nobody would wait any longer."""
        world, phone = self.world, self.world.phone(self.row)
        reference = self.transaction or world.bill(self.row).number
        self.at = Place("sms", "sms", 1, confirmed_us, confirmed_us)
        give_up_us = min(confirmed_us + world.sms_wait_us, cut_off_us)
        outcome, code = "timed_out", "no_sms"
        while (left_us := give_up_us - world.clock.now_us()) > 0:
            wait_ms = min(INBOX_POLL_MS, left_us // 1000 + 1)
            path = f"{c.INBOX}/{phone}?reference={reference}&wait_ms={wait_ms}"
            headers = {c.TOKEN_HEADER: world.token} if world.token else None
            answer = self.ask("sms", "GET", path, c.Inbox, "sms", 1, headers=headers)
            if answer.outcome != "ok":
                outcome, code = answer.outcome, answer.code
                break
            if answer.message.messages:
                outcome, code = "ok", ""
                break
        else:
            if give_up_us == cut_off_us:
                outcome, code = "unfinished", "cut_off"
        self.write(Done(outcome, code, world.clock.now_us()))

    # --- tools -------------------------------------------------------------------------------

    def ask(
        self, service: str, method: str, path: str, wanted: Any, step: str, attempt: int,  # noqa: ANN401
        body: object = None, headers: dict[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Send a request that says which attempt of which journey it belongs to."""
        marks = self.traits
        trace = c.Trace(
            self.row.kind, self.row.journey_id + self.world.journey_offset, step, j.STEP_ROW,
            attempt,
            marks.app, marks.bank, marks.medium, marks.scanner, marks.operator,
        )  # fmt: skip
        if (traces := self.world.traces) is not None:
            headers = traces.headers(self.row.journey_id, step, attempt) | (headers or {})
        client = self.world.clients[service]
        return client.ask(
            method,
            path,
            wanted,
            trace=trace,
            timeout_s=REQUEST_TIMEOUT_S,
            body=body,
            headers=headers,
        )

    def sleep_until(self, when_us: int) -> None:
        """Let others run until ``when_us``."""
        left_us = when_us - self.world.clock.now_us()
        if left_us > 0:
            gevent.sleep(left_us / 1e6)

    def write(self, done: Done) -> None:
        """Write the row of the attempt that is under way."""
        at = self.at
        outcome = Outcome(
            observer="client",
            process=self.world.writer.process,
            journey_id=self.row.journey_id,
            branch=at.branch,
            step=at.step,
            leg=j.STEP_ROW,
            attempt=at.attempt,
            station="",
            intended_us=at.due_us,
            start_us=at.start_us,
            service_start_us=at.start_us,
            end_us=max(done.end_us, at.start_us),
            outcome=done.outcome,
            code=done.code,
        )
        self.world.writer.add(outcome)
        for onlooker in self.world.onlookers:
            onlooker.noted(self.row, outcome)

    def stop(self, outcome: str, code: str) -> None:
        """Write that the attempt under way came to nothing."""
        self.write(Done(outcome, code, self.world.clock.now_us()))
