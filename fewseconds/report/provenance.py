"""What a run rests on: the assumptions of its scenario, in words, each with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.report import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.journey import Step
    from fewseconds.scenario import Scenario
    from fewseconds.station import Station

ROLES: Final = {
    "human": "a person",
    "device": "a phone",
    "mocked": "modelled, not ours",
    "measured": "ours, measured",
}


class Assumption(msgspec.Struct, frozen=True):
    """One number, or a few that belong together."""

    subject: str
    detail: str
    value: str
    source: str

    @property
    def assumed(self) -> bool:
        """Whether the source says that this is an assumption."""
        return self.source.strip().lower().startswith("assumption")


def stations(scenario: Scenario) -> tuple[Assumption, ...]:
    """How long everything takes and how it fails, for the stations that journeys visit."""
    shares = scenario.channel_shares()
    kinds = [kind for kind in scenario.journeys if shares.get(kind, 0) > 0]
    visited = {
        leg.station: None
        for kind in kinds
        for step in scenario.journeys[kind].steps
        for leg in scenario.steps[step].legs
    }
    return tuple(row for name in visited for row in _station(scenario, name))


def _station(scenario: Scenario, name: str) -> Iterator[Assumption]:
    table, factor = scenario.stations[name], scenario.slowdown(name)
    subject = words.label(name, {})
    detail = ROLES[table.role] + _servers(table)
    law = table.service_time
    yield Assumption(subject, detail, words.law(law, factor), law.source or table.source)
    for failure in table.failures:
        yield Assumption(subject, "fails", words.failure(failure), failure.source)
    if (limit := table.rate_limit) is not None:
        excess = f"the others get {limit.code}" if limit.excess == "reject" else "the others wait"
        value = f"{limit.per_s:g} a second, {words.whole(limit.burst)} at once; {excess}"
        yield Assumption(subject, "limit", value, limit.source)
    if table.persistence:
        value = f"{words.percent(table.persistence, 0)} of the attempts share the luck of the last"
        yield Assumption(subject, "persistence", value, table.source)
    for variant, own in table.variants.items():
        if own.service_time is not None:
            value = words.law(own.service_time, factor)
            yield Assumption(subject, variant, value, own.service_time.source)
        for outcome, share in (own.shares or {}).items():
            yield Assumption(
                f"{words.label(name, {})}, {variant}",
                outcome,
                f"{share:.2%}",
                own.source or table.source,
            )
        for failure in own.failures or ():
            yield Assumption(subject, f"{variant}, fails", words.failure(failure), failure.source)


def steps(scenario: Scenario) -> tuple[Assumption, ...]:
    """What the order of steps, their retries and their time-outs rest on."""
    shares = scenario.channel_shares()
    used = [
        name for kind, share in shares.items() if share for name in scenario.journeys[kind].steps
    ]
    return tuple(
        Assumption(words.label(name, words.STEPS), "step", _tries(step), step.source)
        for name, step in scenario.steps.items()
        if name in used and step.clock == "machine"
    )


def _tries(step: Step) -> str:
    limits = [leg.timeout_ms / 1000 for leg in step.legs if leg.timeout_ms]
    text = f"{words.counted(len(step.legs), 'visit')}"
    if limits:
        text += f", none longer than {words.seconds(max(limits))}"
    return text + f", {words.counted(step.attempts_max, 'try', 'tries')}"


def _servers(table: Station) -> str:
    if table.servers == 0:
        return ", nobody waits"
    text = f", {words.counted(table.servers, 'server')}"
    return (
        text if table.queue_limit is None else text + f", queue of {words.whole(table.queue_limit)}"
    )


def _profiles(scenario: Scenario) -> Iterator[Assumption]:
    """What is assumed of single apps."""
    for name, app in scenario.apps.items():
        if app.polls is not None:
            first_s, asks = app.polls.first_ms / 1000, app.polls.asks_max
            value = f"asks after {words.seconds(first_s)}, {asks} times at most"
            yield Assumption(f"pending in {name}", "", value, app.polls.source)
        if app.wallet is not None:
            wallet = app.wallet
            value = (
                f"{wallet.share:.1%} of its payers, up to Rs {wallet.payment_max_paise / 100:,.0f}"
            )
            yield Assumption(f"wallet of {name}", "", value, wallet.source)


def _mix(shares: dict[str, float], known: dict[str, str]) -> str:
    total = sum(shares.values()) or 1.0
    shown = [(name, share / total) for name, share in shares.items() if share > 0]
    return ", ".join(f"{words.label(name, known)} {words.percent(share)}" for name, share in shown)


def general(scenario: Scenario) -> tuple[Assumption, ...]:
    """Who pays, when and how, and what is run."""
    arrivals, load = scenario.arrivals, scenario.load
    rows = [
        Assumption("consumers", "", words.whole(scenario.consumers), scenario.consumers_source),
        Assumption(
            "digital payments", "", words.percent(scenario.digital_share),
            scenario.adoption.source,
        ),
        Assumption(
            "arrivals", "",
            f"{arrivals.payments_per_consumer_month:g} payments a consumer and month over "
            f"{words.counted(arrivals.days, 'day')}, "
            f"{words.counted(arrivals.cycles, 'billing cycle')}",
            arrivals.source,
        ),
        Assumption(
            "load window", "",
            f"the busiest {words.seconds(load.duration_s)} of the {load.day} day, then up to "
            f"{words.seconds(load.drain_s)} to finish",
            load.source,
        ),
        Assumption(
            "apps", "", _mix({name: app.share for name, app in scenario.apps.items()}, {}),
            scenario.apps_source,
        ),
        *_profiles(scenario),
        Assumption("banks", "", _mix(scenario.banks, {}), scenario.banks_source),
        Assumption("operators", "", _mix(scenario.operators, {}), scenario.operators_source),
    ]  # fmt: skip
    if scenario.season.source:
        value = (
            f"{words.plan_moment(scenario.first_day, 0):%B}: payments times "
            f"{scenario.payments_factor:g}, amounts times {scenario.amount_factor:g}"
        )
        rows.append(Assumption("season", "", value, scenario.season.source))
    if (billing := scenario.billing) is not None:
        value = (
            f"{billing.early_discount:.2%} off until {words.counted(billing.early_days, 'day')} "
            f"after the issue, {billing.late_charge:.2%} on once a bill is overdue"
        )
        rows.append(Assumption("amounts", "", value, billing.source))
    for kind, share in scenario.channel_shares().items():
        if share > 0:
            channel = scenario.channels[kind]
            media = f"; {_mix(channel.media, words.MEDIA)}" if channel.media else ""
            value = f"{words.percent(share)} of all payments{media}"
            rows.append(
                Assumption("channel", words.label(kind, words.KINDS), value, channel.source)
            )
    rows += [Assumption("fault", one.kind, one.phrase, one.source) for one in scenario.fault]
    return tuple(rows)
