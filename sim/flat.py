"""A scenario made into the flat tables that the compiled engine reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fewseconds import chance
from fewseconds import journey as j
from fewseconds.bucket import bucket_ns
from fewseconds.draws import Draws
from fewseconds.station import PRIORITIES
from fewseconds.timeline import phases
from sim import layout as at
from sim.cohort import Cohort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fewseconds.plan import Codes
    from fewseconds.scenario import Scenario
    from fewseconds.station import Failure

PARTS: Final = {
    "": at.OTHER, "aim": at.AIM, "pay": at.PAY, "pending": at.PENDING, "message": at.MESSAGE,
}  # fmt: skip
TOKENS: Final = {"reject": at.TOKENS_REJECT, "wait": at.TOKENS_WAIT}


class Words(dict[str, int]):
    """Words and their numbers, in the order in which they are first asked for."""

    def __missing__(self, word: str) -> int:
        """The next number."""
        self[word] = len(self)
        return self[word]


def table(rows: Sequence[Sequence[int]], width: int) -> NDArray[np.int64]:
    """Rows of whole numbers as an array of shape ``(rows, width)``, with a row at least."""
    return np.array(rows or [[0] * width], np.int64).reshape(-1, width)


class Flat:
    """The tables of :class:`sim.layout.City` that a scenario determines, with their words."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Compile ``scenario`` under ``seed``."""
        self.scenario, self.seed, self.draws = scenario, seed, Draws(scenario, seed)
        self.cohort = Cohort(scenario, seed)
        self.codes, self.branch_names, self.step_words = Words(), Words(), Words()
        for code in ("", "queue_full", j.PENDING_CODE):
            self.codes[code]
        self.stations = list(scenario.stations)
        self.kinds = list(scenario.journeys)
        self.routes = [scenario.route(kind) for kind in self.kinds]
        in_app = [[scenario.route(kind, app) for app in scenario.apps] for kind in self.kinds]
        self._in_app = in_app
        self.step_names: list[str] = []
        """Names of the rows of ``steps``."""
        self.tables: dict[str, Any] = {}
        self._events = [_events(route) for route in self.routes]
        self._add_journeys()
        self._add_rules()
        self._add_stations()
        self._add_draws()

    @property
    def rows_a_move(self) -> int:
        """Most rows that one event of a journey may bring about."""
        return 2 + max(
            sum(step.attempts_max * (len(step.legs) + 1) for step in route.steps)
            for routes in self._in_app
            for route in routes
        )

    def _add_journeys(self) -> None:
        kinds: list[tuple[int, ...]] = []
        steps: list[tuple[int, ...]] = []
        legs: list[tuple[int, ...]] = []
        branches: list[tuple[int, ...]] = []
        widest = max(len(events) for events in self._events)
        starts = np.zeros((len(self.routes), max(widest, 1)), np.int64)
        self.places: list[tuple[str, int, str]] = []
        """Step, leg and station of the rows of ``legs``."""
        for kind, (route, events) in enumerate(zip(self.routes, self._events, strict=True)):
            kinds.append((len(steps), len(branches)))
            number = 0
            for step, stream in zip(route.steps, route.move_streams, strict=True):
                self.step_names.append(step.name)
                name = self.step_words[step.name]
                steps.append(
                    (
                        len(legs), len(step.legs), events.get(f"{step.name}.ok", at.NONE),
                        name, chance.key(self.seed, stream), int(step.backoff_jitter > 0),
                        int(step.clock == "machine"), PARTS[step.marks],
                    )
                )  # fmt: skip
                for index, leg in enumerate(step.legs):
                    legs.append(self._leg(step.name, index, leg, events, (len(steps) - 1, number)))
                    self.places.append((step.name, index, leg.station))
                    number += 1
            for position, branch in enumerate(route.branches):
                branches.append((branch.first_step, self.branch_names[branch.name]))
                if branch.event in events:
                    starts[kind, events[branch.event]] |= 1 << position
        self.tables |= {
            "kinds": table(kinds, at.KIND_WIDTH),
            "steps": table(steps, at.STEP_WIDTH),
            "legs": table(legs, at.LEG_WIDTH),
            "branches": table(branches, at.BRANCH_WIDTH),
            "starts": starts,
        }

    def _leg(
        self, step: str, index: int, leg: j.Leg, events: dict[str, int], at_place: tuple[int, int]
    ) -> tuple[int, ...]:
        outcome, code = j.TIMED_OUT_AS[leg.on_timeout]
        return (
            self.stations.index(leg.station),
            at.NONE if leg.timeout_ms is None else leg.timeout_ms * 1000,
            events.get(f"{step}.{leg.emits}", at.NONE),
            events.get(leg.asks, at.NONE) if leg.asks else at.NONE,
            events.get(f"{step}.{leg.on_timeout}", at.NONE),
            outcome, self.codes[code], at_place[0], index, at_place[1], leg.priority, 0, 0, 0,
        )  # fmt: skip

    def _add_rules(self) -> None:
        """Rules of every kind as they are in every app; those that are equal stand there once."""
        rules: list[int] = []
        found: dict[tuple[int, ...], int] = {}
        self._rules_of = np.zeros((len(self.kinds), len(self.scenario.apps)), np.int64)
        for kind, routes in enumerate(self._in_app):
            for app, route in enumerate(routes):
                if route.rules not in found:
                    found[route.rules] = len(rules)
                    rules += route.rules
                self._rules_of[kind, app] = found[route.rules]
        self.tables["rules"] = np.array(rules, np.int64)

    def _add_stations(self) -> None:
        rows: list[NDArray[np.int64]] = []
        all_phases: list[tuple[int, ...]] = []
        takers = self.scenario.takers().values()
        for name, station in self.scenario.stations.items():
            mine, limit = phases(self.scenario, name), station.rate_limit
            interval_ns, slack_ns = (0, 0) if limit is None else bucket_ns(limit)
            row = np.zeros(at.ST_WIDTH, np.int64)
            first = mine[0]
            row[[at.ST_SERVERS, at.ST_DOOR, at.ST_CODE, at.ST_PACE]] = (
                first.servers, first.door, self.codes[first.code], first.pace_milli,
            )  # fmt: skip
            row[at.ST_QUEUE_LIMIT] = at.NONE if station.queue_limit is None else station.queue_limit
            if limit is not None:
                row[at.ST_TOKENS] = TOKENS[limit.excess]
                row[at.ST_TOKEN_CODE] = self.codes[limit.code]
            row[at.ST_INTERVAL_NS], row[at.ST_SLACK_NS] = interval_ns, slack_ns
            row[at.ST_NEXT_PHASE] = len(all_phases) + 1
            row[at.ST_PHASES_END] = len(all_phases) + len(mine)
            row[at.ST_MEASURED] = at.BILLER * (name == "biller") + at.TAKER * (name in takers)
            row[at.ST_HEADS : at.ST_HEADS + 2 * PRIORITIES] = at.NONE
            rows.append(row)
            all_phases += [
                (one.from_us, one.servers, one.door, self.codes[one.code], one.pace_milli)
                for one in mine
            ]
        self.tables["stations"] = np.array(rows, np.int64)
        self.tables["phases"] = table(all_phases, at.PHASE_WIDTH)

    def _add_draws(self) -> None:
        found: dict[int, int] = {}
        laws: dict[int, int] = {}
        law_rows: list[tuple[int, ...]] = []
        rows: list[tuple[int, ...]] = []
        edges: list[int] = []
        failures: list[tuple[int, int]] = []
        outages: list[tuple[int, int, int]] = []

        def coded(failure: Failure) -> tuple[int, int]:
            return j.OUTCOMES.index(failure.outcome), self.codes[failure.code]

        def law(knots: tuple[int, ...] | None) -> int:
            if knots is None:
                return at.NONE
            if id(knots) not in laws:
                laws[id(knots)] = len(law_rows)
                law_rows.append(knots)
            return laws[id(knots)]

        def row_of(visit: Any) -> int:  # noqa: ANN401 - a fewseconds.draws.Visit
            if id(visit) not in found:
                found[id(visit)] = len(rows)
                rows.append(
                    (
                        visit.service_key, law(visit.table), visit.milli, visit.failure_key,
                        len(edges), len(visit.edges), visit.refresh, visit.persistence,
                        visit.patience_key, law(visit.patience), visit.burst_us, visit.burst_key,
                        visit.burst_below, len(outages), len(visit.outages),
                    )
                )  # fmt: skip
                for from_us, until_us, failure in visit.outages:
                    outages.append((from_us, until_us, len(failures)))
                    edges.append(0)
                    failures.append(coded(failure))
                rows[-1] = (*rows[-1][:4], len(edges), *rows[-1][5:])
                for of in (visit.edges, visit.edges_in_burst) if visit.burst_us else (visit.edges,):
                    edges.extend(of)
                    failures.extend(coded(one) for one in visit.failures)
            return found[id(visit)]

        draw_of: list[int] = []
        for number, (step, leg, station) in enumerate(self.places):
            mine = self.cohort.group(self.draws.distinguished_by(step, leg, station))
            self.tables["legs"][number, [at.LEG_DRAWS, at.LEG_SHIFT, at.LEG_MASK]] = (
                len(draw_of), mine.shift, mine.mask,
            )  # fmt: skip
            draw_of += [row_of(self.draws.visit(step, leg, station, one)) for one in mine.traits()]
        self.tables |= {
            "draw_of": np.array(draw_of, np.int64),
            "draws": table(rows, at.DRAW_WIDTH),
            "laws": np.array(law_rows, np.int64),
            "edges": np.array(edges or [0], np.int64),
            "failures": table(failures, at.FAILURE_WIDTH),
            "outages": table(outages, at.OUTAGE_WIDTH),
        }

    def cohorts(self, view: Codes) -> NDArray[np.int64]:
        """The traits of each journey of a plan, packed; shape ``(journeys,)``."""
        return self.cohort.packed(view)

    def rules_from(self, view: Codes) -> NDArray[np.int64]:
        """Where in ``rules`` those of each journey of a plan begin; shape ``(journeys,)``."""
        found: NDArray[np.int64] = self._rules_of[view.kind, view.app]
        return found


def _events(route: j.Route) -> dict[str, int]:
    """Numbers of the events of a kind of journey that anything depends on."""
    waited = {branch.event for branch in route.branches if branch.event is not None}
    asked = {leg.asks for step in route.steps for leg in step.legs if leg.asks}
    return {event: number for number, event in enumerate(sorted(waited | asked))}
