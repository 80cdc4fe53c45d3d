"""What the load generator is told: one JSON file, written before its process starts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec
import pyarrow.parquet as pq

from fewseconds import journey as j
from fewseconds.errors import UsageError
from fewseconds.identity import Bill
from fewseconds.plan import Plan
from fewseconds.scenario import Scenario

SPEC_VARIABLE = "FEWSECONDS_LOAD"
"""Environment variable with the path of the file."""
CLOCK_UNCERTAINTY_US_MAX = 1000
"""Above it only durations are used across hosts."""
SEEN = "load.seen.msgpack"
"""What the generator saw of its journeys, in the run's folder."""
SCANS = ("scan", "scan_again")
PLAYABLE = (*SCANS, "resolve", "pay", "check_status", "register", "log_in", "find_bill")
"""The machine steps that a phone can do, by name; human steps only take their time."""


class Targets(msgspec.Struct, frozen=True):
    """Base addresses of the services, such as ``http://127.0.0.1:8101``; empty: not there."""

    psp: str
    sms: str = ""
    portal: str = ""


OFFSET_UNIT: Final = 1 << 42
"""Above every journey of a plan, and above those that services make up for curious callers."""
OFFSETS: Final = 1 << 20


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What a run brings along for services that are not its own."""

    bills: tuple[Bill, ...] = ()
    """The bills that the rows pay, if they are not made from the seed."""
    headers: dict[str, dict[str, str]] = {}
    """Header lines for everything that is sent to a service: who we are."""
    journey_offset: int = 0
    """Added to journeys in what is sent, so that services which outlive a run do not take one
    run's payments for those of another."""


NOTHING_OUTSIDE = Outside()


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks on while a load runs; nobody unless asked, and then nothing of it is imported."""

    metrics: str = ""
    """``host:port`` of an endpoint for Prometheus; empty is none."""
    otlp: str = ""
    """Address of an OpenTelemetry collector (OTLP over HTTP), such as ``http://127.0.0.1:4318``."""
    trace_share: float = 0.01
    """Of the journeys, drawn by their number: the same ones in every run."""
    notes: bool = False
    """Whether workers keep notes for an endpoint or a web page of the master's."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Services that were there before a load and outlive it."""

    outcomes: str
    """Folder in which they note what they did."""
    ahead_us: int
    """Their clock less CLOCK_MONOTONIC of this host."""


class LoadSpec(msgspec.Struct, frozen=True):
    """A load run. Paths are absolute."""

    scenario: str
    plan: str
    """Parquet: the rows to play, in order."""
    seed: int
    window_us: tuple[int, int]
    targets: Targets
    token: str
    """Opens the handsets' inboxes, which only tests may read."""
    outcomes: str
    summary: str
    """Where the generator writes its :class:`LoadSummary` at the end."""
    seen: str
    """Where it writes its ``journey_recorder.JourneyReport`` before."""
    strip: str
    strip_count: int = 12
    client: str = "lean"
    """``lean`` or ``fasthttp``."""
    decoding: str = "camera"
    """``camera`` photographs and decodes every bill; ``printed`` takes the printed text."""
    corpus: str = ""
    """File of scans that were decoded before; if there is one, they are taken."""
    start_file: str = ""
    """File that tells the services what time of the plan it is; empty: they were not started for
    this load."""
    acknowledgements: str = ""
    """Folder for what payers were told; empty: it is not kept."""
    outside: Outside = NOTHING_OUTSIDE
    abort_after_s: float = 0.0
    """Once a gate has been broken for so long, nothing more is started; 0 is never."""
    parent: int = 0
    """Process id of whoever started the generator: it ends when that one has gone. 0 is nobody."""
    telemetry: Telemetry = Telemetry()
    services: Services | None = None
    """Those that the load is for, if they are not started for it and are known."""

    def load_plan(self) -> Plan:
        """The rows to play with the scenario they come from."""
        scenario = msgspec.json.decode(Path(self.scenario).read_bytes(), type=Scenario)
        return Plan(scenario, self.seed, pq.read_table(self.plan))


class LoadSummary(msgspec.Struct, frozen=True):
    """How the generator did; latencies are in the outcomes."""

    epoch_us: int
    """CLOCK_MONOTONIC at the plan's time 0; the services' rows are in CLOCK_MONOTONIC."""
    intended: int
    started: int
    dropped: int
    in_flight_integral_s: float
    """Time integral of the journeys in flight, from a gauge that is read at intervals."""
    in_flight_variance_s2: float
    """Of that integral, as the gauge's readings tell it."""
    in_flight_max: int
    cpu_s: float
    wall_s: float
    cpu_share_max: float
    """See :class:`loadtests.busyness.Busyness`."""
    misreads: int
    typed: int
    """Journeys whose QR was not read, so the consumer number was typed."""
    workers: int = 1
    aborted: bool = False
    """Whether a worker stopped because a gate was broken."""
    broken: tuple[str, ...] = ()
    """The gates that were broken when whoever leads looked last, if that can stop a run."""
    lost: tuple[str, ...] = ()
    """One sentence a worker whose share is missing."""
    clock_uncertainty_us: int = 0
    """Of the worst worker on another host."""
    refused: int = 0
    """Workers that came when the shares had been given out."""
    retried: int = 0
    """Requests that went out again because their kept connection had died before they were seen."""


def notes(summary: LoadSummary | None) -> tuple[str, ...]:
    """What a reader must know of workers and connections, one sentence each."""
    if summary is None:
        return ()
    told = []
    if summary.aborted:
        told.append(
            f"Stopped early: {', '.join(map(repr, summary.broken))} had been broken for as long as "
            "--abort-after allows, so nothing more was started."
        )
    if summary.refused:
        some = "worker was" if summary.refused == 1 else "workers were"
        told.append(
            f"{summary.refused} late {some} refused, because the shares had been given out; the "
            "run is whole all the same. Start workers before the test."
        )
    if summary.retried:
        some = "request was" if summary.retried == 1 else "requests were"
        told.append(
            f"{summary.retried} {some} sent again, each once, because the server had hung up on a "
            "kept connection before it saw them; that is no attempt of a consumer's."
        )
    if summary.clock_uncertainty_us > CLOCK_UNCERTAINTY_US_MAX:
        told.append(
            f"The clock of a worker on another host is known to "
            f"{summary.clock_uncertainty_us / 1000:.1f} ms only, more than "
            f"{CLOCK_UNCERTAINTY_US_MAX / 1000:g} ms: moments of different hosts are not "
            "comparable; every duration is taken on one host, so quantiles are not touched."
        )
    return tuple(told)


def together(shares: list[LoadSummary], epoch_us: int) -> LoadSummary:
    """What several workers did; the processor time is that of the busiest."""
    busiest = max(shares, key=lambda share: share.cpu_s / max(share.wall_s, 1e-9))
    added = {
        name: sum(getattr(share, name) for share in shares)
        for name in (
            "intended", "started", "dropped", "in_flight_integral_s", "in_flight_variance_s2",
            "in_flight_max", "misreads", "typed", "retried",
        )
    }  # fmt: skip
    return msgspec.structs.replace(
        busiest,
        epoch_us=epoch_us,
        workers=len(shares),
        cpu_share_max=max(share.cpu_share_max for share in shares),
        aborted=any(share.aborted for share in shares),
        **added,
    )


def read_spec(path: str | None) -> LoadSpec:
    """Read the file that the environment names; raises UsageError if there is none."""
    if not path:
        message = f"{SPEC_VARIABLE}: not set; start load tests with `fewseconds run`"
        raise UsageError(message)
    return msgspec.json.decode(Path(path).read_bytes(), type=LoadSpec)


def unplayable(scenario: Scenario) -> list[str]:
    """What the generator cannot play: machine steps of real-time journeys that no phone can do.

    Only the main branch is the phone's; the other branches are walked by the services.
    """
    found = []
    for kind, table in scenario.journeys.items():
        if not table.real_time:
            continue
        route = scenario.route(kind)
        reached, ahead = {j.END}, [route.branches[0].first_step]
        while ahead:
            step = ahead.pop()
            if step not in reached:
                reached.add(step)
                targets = step * j.WIDTH + j.NEXT
                ahead += route.rules[targets : targets + len(j.OUTCOMES)]
        found += [
            f"journey {kind!r} step {step.name!r}: cannot be played against real services; use "
            f"only {', '.join(PLAYABLE)} and human steps, or set real_time = false"
            for index, step in enumerate(route.steps)
            if index in reached and step.clock == "machine" and step.name not in PLAYABLE
        ]
    return found


class Clock:
    """The plan's clock in real time: microseconds since the plan's time 0."""

    def __init__(self, epoch_us: int) -> None:
        """Plan time 0 is at ``epoch_us`` of CLOCK_MONOTONIC, which all processes share.

        The epoch may be set once everything is ready and before the clock is first read.
        """
        self.epoch_us = epoch_us

    def now_us(self) -> int:
        """The time on the plan's clock."""
        return time.monotonic_ns() // 1000 - self.epoch_us
