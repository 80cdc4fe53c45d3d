"""The commands about load: ``fewseconds load …``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fewseconds import cli_target as target
from fewseconds.cli_frame import Json, Metrics, Name, Otlp, Seed, Slow, TraceShare, carry_out

if TYPE_CHECKING:
    from fewseconds.shapes import Shape

load_app = typer.Typer(help="Load in the open model, and its own checks.", no_args_is_help=True)

Url = Annotated[str, typer.Argument(help="What to ask, such as http://127.0.0.1:8000/.")]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="A host besides this one; may be repeated."),
]
Processes = Annotated[
    int, typer.Option(help="Generator processes, which share the schedule.", min=1, max=64)
]
OnInconclusive = Annotated[
    Literal["inconclusive", "pass", "fail", "retry"],
    typer.Option(help="What an inconclusive run's exit code says; retry tries twice more."),
]
Slo = Annotated[
    list[str] | None,
    typer.Option("--slo", metavar="P=TIME", help="A limit such as p99=250ms; may be repeated."),
]
Results = Annotated[Path, typer.Option(help="Folder that gets a folder for this run.")]
RateScale = Annotated[float, typer.Option(help="So many times the true rate: a stress test.")]
ConstantRate = Annotated[
    float, typer.Option(help="Journeys/s in the plan's order, gaps replaced: endurance.")
]
All = Annotated[bool, typer.Option("--all", help="The whole plan; needs --constant-rate.")]
AbortAfter = Annotated[
    str,
    typer.Option(help="Start nothing more once a gate has been broken for so long; 0s is never."),
]
WithPortal = Annotated[
    bool,
    typer.Option("--with-portal", help="With --all, the portal's payments stay at the portal."),
]
SameStations = Annotated[
    bool, typer.Option("--same-stations", help="With --all, mocked parties do not grow with it.")
]
Duration = Annotated[
    str, typer.Option(help="Instead of the scenario's; hours make a soak. 0s is its own.")
]
Shapes = Annotated[
    str,
    typer.Option(
        help="flat, ramp=FROM, steps=FROM,COUNT or spike=PEAK, with --constant-rate as end or "
        "base, and --duration."
    ),
]
Replay = Annotated[
    str, typer.Option(help="Folder of an earlier run: the same journeys at the same times.")
]
City = Annotated[
    int,
    typer.Option("--consumers", help="A smaller or larger city; 0 is the scenario's.", min=0),
]
Journeys = Annotated[int, typer.Option(help="At most so many; 0 is no limit.", min=0)]
InFlight = Annotated[
    int,
    typer.Option(
        help="Journeys beyond so many open ones are dropped; 0 is the scenario's limit, or two "
        "minutes of the rate that is given.",
        min=0,
    ),
]
Decoding = Annotated[
    str,
    typer.Option(
        metavar="auto|camera|printed|FILE",
        help="Photograph and decode every bill, take the printed text, or take the scans of a FILE "
        "that load corpus has made; auto is the camera for up to 20 000 bills.",
    ),
]
Client = Annotated[
    Literal["lean", "fasthttp"], typer.Option(help="Our client or Locust's FastHttpUser's.")
]


@load_app.command("probe")
def load_probe(
    url: Url,
    rate: Annotated[float, typer.Option(help="Requests per second.", min=0.001)] = 100.0,
    duration: Annotated[str, typer.Option(help="Such as 40s, 2m or 1h.")] = "40s",
    poisson: Annotated[
        bool, typer.Option("--poisson", help="Random arrivals instead of evenly spaced ones.")
    ] = False,
    shape: Annotated[
        str,
        typer.Option(
            help="flat, ramp=FROM, steps=FROM,COUNT or spike=PEAK, with --rate as end or base."
        ),
    ] = "flat",
    settle: Annotated[str, typer.Option(help="Beginning that is sent but does not count.")] = "0s",
    slo: Slo = None,
    abort_after: Annotated[
        str, typer.Option(help="Stop once a limit has been broken for so long; 0s is never.")
    ] = "0s",
    connections: Annotated[
        int, typer.Option(help="Most connections; 0 is as many as it takes.", min=0)
    ] = 0,
    in_flight_max: Annotated[
        int, typer.Option(help="Requests beyond this many open ones are dropped.", min=1)
    ] = 10_000,
    timeout: Annotated[str, typer.Option(help="When a request is given up.")] = "30s",
    client: Annotated[
        Literal["lean", "fasthttp"], typer.Option(help="Our client or Locust's FastHttpUser's.")
    ] = "lean",
    processes: Processes = 1,
    seed: Annotated[int, typer.Option(help="Seed of random arrivals.", min=0)] = 1,
    allow_host: Allow = None,
    on_inconclusive: OnInconclusive = "inconclusive",
    as_json: Json = False,
) -> None:
    """Send one GET again and again at its intended times, whatever the server does.

    Latency runs from the intended start. Exit code: 0 valid (limits met), 1 a limit is broken,
    2 usage, 3 the generator could not keep its promise.
    """
    from fewseconds.commands import load as commands

    wish = commands.ProbeWish(
        url=url, rate=rate, duration=duration, poisson=poisson, shape=shape, settle=settle,
        slo=slo or [], abort_after=abort_after, connections=connections,
        in_flight_max=in_flight_max, timeout=timeout, client=client, processes=processes,
        seed=seed, allow_host=allow_host or [], on_inconclusive=on_inconclusive,
    )  # fmt: skip
    carry_out(lambda: commands.load_probe(wish, as_json=as_json), as_json=as_json)


@load_app.command("selfcheck")
def load_selfcheck(
    duration: Annotated[str, typer.Option(help="Two periods of the server's at least.")] = "40s",
    rate: Annotated[float, typer.Option(help="Requests per second.", min=10, max=1e6)] = 200.0,
    processes: Processes = 1,
    as_json: Json = False,
) -> None:
    """Freeze a server on a schedule and compare what the probe reports with what must be so."""
    from fewseconds.commands import load as commands

    carry_out(
        lambda: commands.load_selfcheck(duration, rate, processes, as_json=as_json),
        as_json=as_json,
    )


@load_app.command("search")
def load_search(
    url: Url,
    slo: Annotated[str, typer.Option("--slo", metavar="P=TIME", help="Such as p95=200ms.")],
    rate_from: Annotated[float, typer.Option("--from", help="Requests/s to begin at.")] = 10.0,
    rate_to: Annotated[float, typer.Option("--to", help="Requests/s not to exceed.")] = 5000.0,
    step: Annotated[str, typer.Option(help="How long a rate is measured.")] = "10s",
    settle: Annotated[str, typer.Option(help="How long a rate settles before.")] = "2s",
    precision: Annotated[
        float, typer.Option(help="Width of the bracket at the end.", min=0.005, max=0.5)
    ] = 0.03,
    poisson: Annotated[
        bool, typer.Option("--poisson/--even", help="Random or evenly spaced arrivals.")
    ] = True,
    processes: Processes = 1,
    seed: Annotated[int, typer.Option(help="Seed of random arrivals.", min=0)] = 1,
    allow_host: Allow = None,
    as_json: Json = False,
) -> None:
    """Find the highest rate that meets a limit, by ramp and bisection.

    Prints the bracket: the highest rate that met the limit and the lowest that did not.
    """
    from fewseconds.commands import search as commands

    wish = commands.SearchWish(
        url=url, slo=slo, rate_from=rate_from, rate_to=rate_to, step=step, settle=settle,
        precision=precision, poisson=poisson, processes=processes, seed=seed,
        allow_host=allow_host or [],
    )  # fmt: skip
    carry_out(lambda: commands.load_search(wish, as_json=as_json), as_json=as_json)


@load_app.command("run")
@target.with_parties
def load_run(
    scenario: Name, parties: target.Parties, seed: Seed = None, results: Results = Path("results"),
    rate_scale: RateScale = 1.0, constant_rate: ConstantRate = 0.0, everything: All = False,
    with_portal: WithPortal = False, same_stations: SameStations = False,
    abort_after: AbortAfter = "0s", duration: Duration = "0s",
    shape: Shapes = "flat", replay: Replay = "", consumers: City = 0, journeys: Journeys = 0,
    in_flight_max: InFlight = 0, decoding: Decoding = "auto", client: Client = "lean",
    processes: Processes = 1, slow: Slow = None, metrics: Metrics = "", otlp: Otlp = "",
    trace_share: TraceShare = 0.01, dry_run: target.DryRun = False,
    on_inconclusive: OnInconclusive = "inconclusive", as_json: Json = False,
) -> None:  # fmt: skip
    """Put a scenario's load on its services, in any shape; judge and audit, without simulating.

    Exit code: 0 all gates met, 1 a gate failed, 2 usage, 3 inconclusive.
    """
    from fewseconds.commands.load_run import Order, grace, scans
    from fewseconds.commands.load_run import load_run as command
    from fewseconds.commands.telemetry import telemetry
    from fewseconds.run import LoadWish

    def work() -> int:
        how, corpus = scans(decoding)
        wish = LoadWish(
            shape=_shaped(
                shape, duration, rate_scale=rate_scale, constant_rate=constant_rate,
                everything=everything, with_portal=with_portal, same_stations=same_stations,
                journeys_max=journeys, replay=replay,
            ),
            processes=processes, client=client, decoding=how, corpus=corpus,
            in_flight_max=in_flight_max, abort_after_s=grace(abort_after),
            telemetry=telemetry(metrics, otlp, trace_share),
        )  # fmt: skip
        order = Order(
            scenario, consumers, seed, results, wish, slow or [], parties, on_inconclusive, dry_run
        )
        return command(order, as_json=as_json)

    carry_out(work, as_json=as_json, results=None if dry_run else results)


def _shaped(shape: str, duration: str, **said: Any) -> Shape:  # noqa: ANN401 - fields of Shape
    """The shape that a command line describes; raises UsageError."""
    from fewseconds.commands.load_run import asked_for
    from fewseconds.shapes import Shape

    duration_s, stages = asked_for(shape, said["constant_rate"], duration)
    return Shape(duration_s=duration_s, stages=stages, **said)


@load_app.command("corpus")
@target.with_parties
def load_corpus(
    scenario: Name,
    file: Annotated[Path, typer.Argument(help="The file to write, Parquet.", metavar="FILE")],
    parties: target.Parties, seed: Seed = None, rate_scale: RateScale = 1.0,
    constant_rate: ConstantRate = 0.0, everything: All = False, with_portal: WithPortal = False,
    duration: Duration = "0s", shape: Shapes = "flat", replay: Replay = "", consumers: City = 0,
    journeys: Journeys = 0,
    processes: Annotated[
        int, typer.Option(help="Processes that decode; 0 is one a processor.", min=0, max=64)
    ] = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Photograph and decode the bills of a run once, for --decoding FILE of many runs.

    Give the options of the run that decide which bills are paid; nothing is sent to anybody.
    """
    from fewseconds.commands import corpus

    def work() -> int:
        wish = corpus.CorpusWish(
            scenario=scenario, file=file, seed=seed, consumers=consumers, parties=parties,
            processes=processes, shape=_shaped(
                shape, duration, rate_scale=rate_scale, constant_rate=constant_rate,
                everything=everything, with_portal=with_portal, journeys_max=journeys,
                replay=replay,
            ),
        )  # fmt: skip
        return corpus.load_corpus(wish, as_json=as_json)

    carry_out(work, as_json=as_json, files={"FILE": file})


@load_app.command("gate")
def load_gate(
    scenario: Name,
    runs: Annotated[int, typer.Option(help="Runs of the unchanged system.", min=3)] = 10,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="DIR", help="Runs that exist already; may be repeated."),
    ] = None,
    slow: Slow = None,
    alpha: Annotated[
        float, typer.Option(help="False alarms that are bearable, as a share.", min=1e-4, max=0.5)
    ] = 0.01,
    power: Annotated[
        float, typer.Option(help="How often a regression must be caught.", min=0.5, max=0.999)
    ] = 0.8,
    results: Results = Path("results"),
    decoding: Decoding = "auto",
    processes: Processes = 1,
    as_json: Json = False,
) -> None:
    """Measure how often the gate cries wolf, and the smallest regression that it catches.

    Runs the unchanged system again and again (or reads runs with --from), and proposes the limit
    that the bearable rate of false alarms asks for; with --slow, as many slowed runs check it.
    """
    from fewseconds.commands import gate
    from fewseconds.commands.load_run import scans
    from fewseconds.run import LoadWish

    def work() -> int:
        how, corpus = scans(decoding)
        wish = LoadWish(processes=processes, decoding=how, corpus=corpus)
        order = gate.Order(scenario, runs, folders or [], slow or [], results, wish, alpha, power)
        return gate.load_gate(order, as_json=as_json)

    carry_out(work, as_json=as_json, results=results)
