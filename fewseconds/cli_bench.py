"""The commands that measure our own speed: ``fewseconds bench …``."""

from __future__ import annotations

from typing import Annotated

import typer

from fewseconds.cli_frame import Json, Name, carry_out

bench_app = typer.Typer(help="Our speed beside that of the best.", no_args_is_help=True)


@bench_app.command("client")
def bench_client(
    requests: Annotated[int, typer.Option(help="Requests a measurement.", min=1000)] = 10_000,
    repeats: Annotated[int, typer.Option(help="Measurements a client.", min=1)] = 5,
    as_json: Json = False,
) -> None:
    """CPU a request of our client, FastHttpUser, geventhttpclient and wrk, in one run."""
    from fewseconds.commands.bench import bench_client as command

    carry_out(lambda: command(requests, repeats, as_json=as_json), as_json=as_json)


@bench_app.command("journeys")
def bench_journeys(
    scenario: Name = "mumbai",
    rate: Annotated[float, typer.Option(help="Journeys per second.", min=1, max=1e6)] = 300.0,
    seconds: Annotated[float, typer.Option(help="How long they start.", min=1, max=86_400)] = 20.0,
    repeats: Annotated[int, typer.Option(help="Measurements; the median counts.", min=1)] = 3,
    real_people: Annotated[
        bool,
        typer.Option("--real-people", help="People take the scenario's times, not half a second."),
    ] = False,
    scans: Annotated[
        str, typer.Option(metavar="FILE", help="Scans of these journeys that load corpus has made.")
    ] = "",
    as_json: Json = False,
) -> None:
    """CPU of the generator a journey, against services that cost next to nothing."""
    from fewseconds.commands.bench import bench_journeys as command

    carry_out(
        lambda: command(
            scenario, rate, seconds, repeats, quick=not real_people, scans=scans, as_json=as_json
        ),
        as_json=as_json,
    )


@bench_app.command("decoding")
def bench_decoding(
    turns: Annotated[
        int, typer.Option(help="Without, with, without; the median counts.", min=1)
    ] = 7,
    seconds: Annotated[
        float, typer.Option(help="Length of each measurement.", min=2, max=86_400)
    ] = 6.0,
    share: Annotated[float, typer.Option(help="Of a processor.", min=0.05, max=1)] = 0.7,
    as_json: Json = False,
) -> None:
    """How far decoding bills beside it moves the p99 that a probe measures of the same server."""
    from fewseconds.commands.bench import bench_decoding as command

    carry_out(lambda: command(turns, seconds, share, as_json=as_json), as_json=as_json)


@bench_app.command("services")
def bench_services(
    repeats: Annotated[int, typer.Option(help="Times everything is measured.", min=1)] = 3,
    database: Annotated[
        str,
        typer.Option(
            help="An empty PostgreSQL database; if not given, a server of our own is started.",
            metavar="URL",
            show_default=False,
        ),
    ] = "",
    memory: Annotated[
        int | None,
        typer.Option(
            help="Pass so many journeys and measure what the services hold, nothing else.",
            metavar="JOURNEYS",
            min=1000,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure what postings, resolves and journeys cost the services; needs wrk."""
    from fewseconds.commands import bench

    if memory is not None:
        carry_out(lambda: bench.bench_services_memory(memory, as_json=as_json), as_json=as_json)
    carry_out(lambda: bench.bench_services(repeats, database, as_json=as_json), as_json=as_json)


@bench_app.command("sim")
def bench_sim(
    scenario: Name = "mumbai",
    journeys: Annotated[
        int, typer.Option(help="How many of them SimPy walks at each turn.", min=100)
    ] = 3000,
    customers: Annotated[
        int, typer.Option(help="Customers of the idiomatic M/M/c queue.", min=100)
    ] = 30_000,
    repeats: Annotated[int, typer.Option(help="Turns; the median counts.", min=1)] = 3,
    as_json: Json = False,
) -> None:
    """What a consumer and an event cost the engines of virtual time, and an idiomatic queue."""
    from fewseconds.commands.sim_bench import bench_sim as command

    carry_out(
        lambda: command(scenario, journeys, customers, repeats, as_json=as_json), as_json=as_json
    )
