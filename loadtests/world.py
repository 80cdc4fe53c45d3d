"""What all consumers of one generator share: plan, clock, ways to the services, onlookers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fewseconds.draws import Draws
from fixtures.bills import Issue
from fixtures.consumers import phone_number
from loadtests.spec import NOTHING_OUTSIDE

if TYPE_CHECKING:
    from fewseconds.acknowledgements import Acknowledgements
    from fewseconds.identity import Bill
    from fewseconds.outcomes import Outcome, Writer
    from fewseconds.plan import Plan, Row
    from loadtests.client import Client
    from loadtests.corpus import Corpus
    from loadtests.scans import Printed, Scans
    from loadtests.spec import Clock, Outside


class Onlooker(Protocol):
    """Somebody who wants to know what happens while it happens."""

    def noted(self, row: Row, outcome: Outcome) -> None:
        """An attempt of the journey has ended; called for whole attempts only."""

    def ended(self, row: Row) -> None:
        """The journey will write no more rows."""


class Traces(Protocol):
    """Says what a request of a traced journey carries, so that services may join its trace."""

    def headers(self, journey_id: int, step: str, attempt: int) -> dict[str, str]:
        """Nothing for a journey that is not traced."""


class World:
    """What all consumers of one generator share."""

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        clients: dict[str, Client],
        scans: Scans | Printed | Corpus,
        writer: Writer,
        token: str,
        *,
        told: Acknowledgements | None = None,
        outside: Outside = NOTHING_OUTSIDE,
    ) -> None:
        """Gather it; ``told`` keeps what payers are told."""
        self.told, self.bills = told, outside.bills
        self._issue = Issue.of(plan.scenario, plan.seed)
        self.journey_offset = outside.journey_offset
        self.plan, self.scenario, self.seed = plan, plan.scenario, plan.seed
        self.clock, self.clients, self.scans, self.writer, self.token = (
            clock,
            clients,
            scans,
            writer,
            token,
        )
        self.onlookers: tuple[Onlooker, ...] = ()
        """Told of every row that is written and of every journey that has ended."""
        self.traces: Traces | None = None
        self.draws = Draws(plan.scenario, plan.seed)
        self.routes = {
            (kind, app): plan.scenario.route(kind, app)
            for kind in plan.scenario.journeys
            for app in plan.scenario.apps
        }
        sms = plan.scenario.steps.get("sms")
        limits_ms = [leg.timeout_ms or 0 for leg in sms.legs] if sms else []
        # What is built at first use must not be built while journeys are timed.
        for station in plan.scenario.stations.values():
            station.service_time.table()
        self.sms_wait_us = 1000 * (sum(limits_ms) or 60_000)

    def bill(self, row: Row) -> Bill:
        """The bill that a journey pays."""
        return self.bills[row.bill] if self.bills else self._issue.bill(row.bill)

    def phone(self, row: Row) -> str:
        """Where the SMS about that bill goes."""
        if not self.bills:
            return phone_number(self.seed, row.consumer)
        paid = self.bills[row.bill]
        return paid.phone or phone_number(self.seed, paid.index)
