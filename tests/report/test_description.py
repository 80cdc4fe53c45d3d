"""The description of a model holds all of it: every step, every station, every source."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from fewseconds import scenario_file
from fewseconds.report import description, provenance, words
from fewseconds.report.page import html
from fewseconds.report.page_markdown import markdown

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario
    from tests.report.conftest import Workshop


def plain(text: str) -> str:
    """Markdown or text with single plain spaces and without escapes."""
    return " ".join(re.sub(r"\\([\\`*_<>#|])", r"\1", text).split())


@pytest.fixture(scope="module")
def mumbai() -> Scenario:
    """The month of the city."""
    return scenario_file.load("mumbai")


@pytest.fixture(scope="module")
def text(mumbai: Scenario) -> str:
    """Its description in Markdown."""
    return markdown(description.page(mumbai, "fewseconds describe mumbai", (("seed", "7"),)))


def sources(value: object) -> set[str]:
    """Every source that stands anywhere in a tree."""
    if isinstance(value, list | tuple):
        return {found for item in value for found in sources(item)}
    if not isinstance(value, dict):
        return set()
    own = {item for key, item in value.items() if key.endswith("source") and isinstance(item, str)}
    return own | {found for item in value.values() for found in sources(item)}


def test_every_source_of_the_scenario_is_told(mumbai: Scenario, text: str) -> None:
    """Sources of population, channels, laws, failures and objectives are all in the Markdown."""
    tree = msgspec.to_builtins(mumbai)
    told = plain(text)
    parts = [tree[key] for key in ("adoption", "arrivals", "season", "slo", "load")]
    parts += [step for step in tree["steps"].values() if step["clock"] == "machine"]
    parts += [channel for channel in tree["channels"].values() if channel["share"]]
    for station in tree["stations"].values():
        parts += [station["service_time"], station["failures"], list(station["variants"].values())]
    wanted = sources(parts) | {tree[f"{key}_source"] for key in ("consumers", "apps", "banks")}
    assert len(wanted) > 60
    assert [source for source in wanted if plain(source) not in told] == []


def test_every_step_is_drawn_with_its_stations(mumbai: Scenario, text: str) -> None:
    """Of every kind that anybody pays by, all steps stand in their order with their stations."""
    kinds = text.split("\n### ")[1:]
    shares = {kind: share for kind, share in mumbai.channel_shares().items() if share}
    assert len(kinds) == len(shares)
    for kind, drawn in zip([k for k in mumbai.journeys if k in shares], kinds, strict=True):
        place = 0
        for step in mumbai.named_steps(kind):
            place = drawn.index(f"**{words.label(step.name, words.STEPS)}**", place)
            line = drawn[place : drawn.index("\n", place)]
            stations = [words.label(leg.station, {}) for leg in step.legs]
            if step.clock == "machine":
                found = [line.index(station) for station in stations]
                assert found == sorted(found)
            if step.attempts_max > 1:
                assert f"up to {step.attempts_max} tries" in line
            place += 1


def test_the_number_of_assumptions_is_that_of_the_list(text: str) -> None:
    """The first sentence counts what the table of assumptions holds, and the rest has a source."""
    (told, whole) = map(int, re.search(r"(\d+) of (\d+) inputs", text).groups())  # type: ignore[union-attr]
    sourced, assumed = (
        text.split(f"**{caption}**")[1].split("\n\n")[1].count("\n") - 1
        for caption in ("3.1 Inputs with a public source, or measured", "3.2 Assumptions")
    )
    assert (assumed, sourced + assumed) == (told, whole)


def test_tables_are_whole(text: str) -> None:
    """Every row of a table has as many cells as its head."""
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1


@pytest.mark.parametrize("name", scenario_file.shipped())
def test_every_shipped_scenario_can_be_described(name: str, shop: Workshop) -> None:
    """The page of every scenario is well-formed."""
    page = description.page(scenario_file.load(name), "fewseconds describe", ())
    assert shop.page(html(page)).faults == []


def test_amounts_by_the_day_and_limits_stand_among_the_inputs() -> None:
    """What the day does to a bill and how many messages an account takes are said with sources."""
    scenario = scenario_file.load("discount_day")
    found = [*provenance.general(scenario), *provenance.stations(scenario)]
    told = {(one.subject, one.detail): (one.value, one.source) for one in found}
    value, source = told["amounts", ""]
    assert value == "2.00% off until 7 days after the issue, 1.25% on once a bill is overdue"
    assert "Free Press Journal" in source
    value, source = told["sms gateway", "limit"]
    assert value == "30 a second, 3 at once; the others get 429"
    assert "docs.smsfire.com.br" in source
