"""What the tests of the report share: made-up runs, and sums done by hand."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from fewseconds import measures, outcomes, scenario_file, slo
from fewseconds import plan as plans
from fewseconds.outcomes import Outcome
from fewseconds.plan import Plan
from fewseconds.record import Check, Evidence, Generator, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from fewseconds.scenario import Scenario

    Walk = list[tuple[str, str, str, float]]
    """The steps of a made-up journey: (step, outcome, code, seconds)."""

SECOND: Final = 1_000_000
WINDOW: Final = (100 * SECOND, 160 * SECOND)
MEASURES: Final = ("machine_time", "end_to_end", "sms_time", "portal_time", "error_rate")


def rows(journey_id: int, start_us: int, walk: Walk) -> list[Outcome]:
    """Whole-attempt rows of a made-up journey, each step beginning where the last one ended."""
    made, now, attempts = [], start_us, Counter[str]()
    for step, outcome, code, seconds in walk:
        attempts[step] += 1
        end = now + round(seconds * SECOND)
        branch = step if step in {"callback", "sms"} else "main"
        times = (now, now, now, end)
        made.append(
            Outcome(
                "client",
                "t",
                journey_id,
                branch,
                step,
                -1,
                attempts[step],
                "",
                *times,
                outcome,
                code,
            )
        )
        now = end
    return made


VOID: Final = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page taken apart: unbalanced tags, attributes, and the text."""

    def __init__(self, html: str) -> None:
        """Read all of ``html``."""
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that opens."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Compare a tag that closes with the one that is open."""
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        """Keep text, except that of the style sheet."""
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        """All text of the page with single plain spaces."""
        return " ".join("".join(self.text).split())


class Workshop:
    """Makes runs of one scenario from the steps of its journeys."""

    def __init__(self, city: Scenario) -> None:
        """Make runs of ``city``."""
        self.city = city

    def evidence(self, walks: Sequence[tuple[str, Walk]], scale: float = 1.0) -> Evidence:
        """Evidence of made-up journeys, two a second; simulated ones take ``scale`` times that."""
        starts = [WINDOW[0] + index * SECOND // 2 for index in range(len(walks))]
        columns: dict[str, list[Any]] = {
            "journey_id": list(range(len(walks))),
            "consumer": list(range(len(walks))),
            "bill": list(range(len(walks))),
            "kind": [kind for kind, _ in walks],
            "app": ["phonepe"] * len(walks),
            "bank": ["SBI"] * len(walks),
            "medium": ["laser_print" if kind.startswith("qr") else "" for kind, _ in walks],
            "intended_start_us": starts,
        }
        window = Plan(self.city, 1, pa.table(columns, schema=plans.SCHEMA))
        worlds = []
        for factor in (1.0, scale):
            made: list[Outcome] = []
            for number, (_, walk) in enumerate(walks):
                stretched = [(step, out, code, factor * took) for step, out, code, took in walk]
                made += rows(number, starts[number], stretched)
            table = measures.frame(outcomes.table(made))
            worlds += [table, measures.journeys(table, window)]
        return Evidence(
            plan=window,
            measured=worlds[0],
            measured_journeys=worlds[1],
            simulated=worlds[2],
            simulated_journeys=worlds[3],
            strip=None,
        )

    def verdicts(self, seen: Evidence, validity: slo.Validity) -> tuple[slo.Verdict, ...]:
        """All objectives of the scenario, judged on made-up evidence."""
        found: list[slo.Verdict] = []
        worlds = {
            "measured": (seen.measured_journeys, seen.measured),
            "simulated": (seen.simulated_journeys, seen.simulated),
        }
        for engine, world in worlds.items():
            samples = {measure: measures.samples(measure, *world) for measure in MEASURES}
            found += slo.judge_all(self.city.slo, engine, samples, validity)
        return tuple(found)

    def record(self, seen: Evidence, **changes: Any) -> Record:  # noqa: ANN401 - any field
        """Return the record of a made-up run."""
        validity = changes.get("validity", slo.Validity(valid=True))
        judged = self.verdicts(seen, validity)
        whole = Record(
            scenario=self.city.name,
            scenario_hash=self.city.digest,
            title=self.city.title,
            description=self.city.description,
            seed=7,
            plan_hash="0" * 64,
            commit="abcdef0",
            versions={"fewseconds": "0.1.0"},
            command="fewseconds run ordinary_day --seed 7",
            started_at=dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC),
            wall_s=61.5,
            window_us=WINDOW,
            word=slo.overall(judged),
            exit_code=slo.exit_code(slo.overall(judged)),
            summary="Half of the payments finished in a few seconds.",
            verdicts=judged,
            validity=validity,
            checks=(Check("money is conserved", passed=True, checked=12),),
            generator=Generator(9, 9, 60, 0, 0, 0.4, 3.2, 7.0, 0.01, 0.05, 0.08, 3),
            measured_journeys=len(seen.plan),
            simulated_journeys=len(seen.plan),
            simulated_wall_s=0.1,
            notes=("Laws are assumptions until `calibrate` has run.",),
        )
        return msgspec.structs.replace(whole, **changes)

    @staticmethod
    def paid(scale: float = 1.0, code: str = "") -> Walk:
        """A payment in which nothing goes wrong."""
        return [
            ("open_app", "ok", "", 3.0 * scale),
            ("scan", "error", "unread", 0.5 * scale),
            ("scan", "ok", code, 0.25 * scale),
            ("resolve", "ok", "", 0.4 * scale),
            ("review", "ok", "", 3.0 * scale),
            ("enter_pin", "ok", "", 4.0 * scale),
            ("pay", "ok", "", 2.5 * scale),
            ("callback", "ok", "", 0.05 * scale),
            ("sms", "ok", "", 4.0 * scale),
        ]

    @staticmethod
    def by_portal(scale: float = 1.0) -> Walk:
        """A payment by the old portal."""
        return [
            ("open_portal", "ok", "", 9.0 * scale),
            ("fill_log_in", "ok", "", 20.0 * scale),
            ("log_in", "ok", "", 0.1 * scale),
            ("find_bill", "ok", "", 0.01 * scale),
            ("fill_payment", "ok", "", 35.0 * scale),
            ("pay", "ok", "", 2.5 * scale),
            ("callback", "ok", "", 0.05 * scale),
            ("sms", "ok", "", 4.0 * scale),
        ]

    @staticmethod
    def page(html: str) -> Page:
        """Take a page apart."""
        return Page(html)

    @staticmethod
    def spans(table: pl.DataFrame, step: str) -> dict[int, float]:
        """Seconds from the first intended start to the last end of a step, a journey."""
        found: dict[int, tuple[int, int]] = {}
        for row in table.iter_rows(named=True):
            if row["step"] == step and row["leg"] == -1:
                first, last = found.get(row["journey_id"], (row["intended_us"], row["end_us"]))
                first, last = min(first, row["intended_us"]), max(last, row["end_us"])
                found[row["journey_id"]] = first, last
        return {journey: (last - first) / SECOND for journey, (first, last) in found.items()}

    @staticmethod
    def nearest_rank(values: Sequence[float], probability: float) -> float:
        """The quantile as NumPy takes it from the inverse of the distribution function."""
        return float(np.quantile(np.array(values), probability, method="inverted_cdf"))


@pytest.fixture(scope="session")
def city() -> Scenario:
    """Return the scenario that all of these journeys belong to."""
    return scenario_file.load("ordinary_day")


@pytest.fixture(scope="session")
def shop(city: Scenario) -> Workshop:
    """Return the maker of made-up runs."""
    return Workshop(city)


@pytest.fixture(scope="session")
def seen(shop: Workshop) -> Evidence:
    """Evidence of 120 payments of many lengths, a tenth of them by the portal."""
    draws = np.random.default_rng(5).lognormal(0.2, 0.4, 120)
    walks: list[tuple[str, Walk]] = [
        ("portal", shop.by_portal(draw)) if index % 10 == 0 else ("qr_ebill", shop.paid(draw))
        for index, draw in enumerate(draws)
    ]
    return shop.evidence(walks, scale=1.5)
