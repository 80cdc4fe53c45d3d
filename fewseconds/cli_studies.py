"""Commands that compare: scenarios and their variants in virtual time, and runs of real load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fewseconds.cli_frame import Json, Name, Seed, carry_out

app = typer.Typer()

Hours = Annotated[
    int, typer.Option(help="How many of the month's busiest hours are judged.", min=1, max=8784)
]
Whole = Annotated[bool, typer.Option("--whole", help="Judge the whole month instead.")]
Replications = Annotated[
    int, typer.Option(help="Replications to begin with, each under a seed of its own.", min=3)
]
Most = Annotated[
    int, typer.Option("--replications-max", help="Never more replications than this.", min=3)
]
Precision = Annotated[
    float,
    typer.Option(help="Replicate until every gate is known to ± this share of it.", min=0.0001),
]
Engine = Annotated[str, typer.Option(help="simpy or numba; the fastest one there is if not given.")]
Processes = Annotated[
    int, typer.Option(help="Processes at once; 0 takes every core.", min=0, max=1024)
]
Cluster = Annotated[
    str,
    typer.Option(
        help="A Dask cluster instead: local:2, or tcp://host:port of its scheduler.",
        metavar="CLUSTER",
        show_default=False,
    ),
]
Results = Annotated[Path, typer.Option(help="Folder that gets a folder with the report.")]
RESULTS = Path("results")
First = Annotated[str, typer.Argument(help="A scenario; or the folder of a run.", metavar="A|RUN")]
Second = Annotated[
    str,
    typer.Argument(
        help="Another scenario; or the run's baseline: a folder of a run, a .jtl of JMeter's, or a "
        "_stats.csv or _stats_history.csv of Locust's.",
        metavar="B|BASE",
    ),
]
WorseBy = Annotated[
    float, typer.Option(help="How much longer a run may take, as a share of BASE.", min=0.0)
]
MoreFailures = Annotated[
    float, typer.Option(help="How many more of a run may fail, as a share of all.", min=0.0)
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="LABEL=STEP", help="What a label of a foreign BASE is; repeatable."
    ),
]
Across = Annotated[
    bool, typer.Option("--across", help="Compare runs of different scenarios or loads.")
]
OnInconclusive = Annotated[
    Literal["inconclusive", "pass", "fail"],
    typer.Option(help="What the exit code says when runs cannot tell."),
]


@app.command()
def compare(
    first: First,
    second: Second,
    worse_by: WorseBy = 0.10,
    more_failures: MoreFailures = 0.01,
    label: Labels = None,
    across: Across = False,
    on_inconclusive: OnInconclusive = "inconclusive",
    seed: Seed = None,
    hours: Hours = 1,
    whole: Whole = False,
    replications: Replications = 10,
    most: Most = 40,
    precision: Precision = 0.05,
    engine: Engine = "",
    processes: Processes = 0,
    cluster: Cluster = "",
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """What changes between two scenarios, or between a run and its baseline.

    Two scenarios A B: both are walked in virtual time with common random numbers, and the answer
    is what changes from A to B. Exit code: that of B's gates: 0 all met, 1 one surely missed,
    3 one not settled.

    A run and its baseline RUN BASE (folders, also of several runs each, or another tool's file):
    the answer is what changes from BASE to RUN, measured. Exit code: 0 no gate is worse by more
    than is allowed, 1 one surely is, 3 the runs cannot tell.
    """
    from fewseconds.commands.compare import compare as command
    from fewseconds.commands.compare_runs import RunsWish, are_runs, compare_runs
    from fewseconds.commands.studies import Effort

    def work() -> int:
        if are_runs(first, second):
            wish = RunsWish(
                worse_by=worse_by, more_failures=more_failures, labels=tuple(label or ()),
                across=across, on_inconclusive=on_inconclusive, results=results,
            )  # fmt: skip
            return compare_runs(first, second, wish, as_json=as_json)
        effort = Effort(
            hours=hours, whole=whole, replications=replications, most=most, precision=precision,
            engine=engine, processes=processes, cluster=cluster, results=results,
        )  # fmt: skip
        return command(first, second, seed, effort, as_json=as_json)

    carry_out(work, as_json=as_json, results=results)


@app.command()
def sweep(
    scenario: Name,
    vary: Annotated[
        list[str],
        typer.Option(
            "--vary",
            metavar="KEY=VALUES",
            help="A key of the scenario and its values: 2..16, 1..2:0.25 or a,b,c; repeatable.",
        ),
    ],
    sobol: Annotated[
        int, typer.Option(help="Rank the keys by Sobol's indices of so many base points.", min=0)
    ] = 0,
    morris: Annotated[
        int, typer.Option(help="Rank the keys by Morris' method with so many ways.", min=0)
    ] = 0,
    seed: Seed = None,
    hours: Hours = 1,
    whole: Whole = False,
    replications: Replications = 10,
    most: Most = 40,
    precision: Precision = 0.05,
    engine: Engine = "",
    processes: Processes = 0,
    cluster: Cluster = "",
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Walk every combination of the keys' values, or rank the keys by what they do.

    Exit code: 0 if some variant meets every gate, 1 if none does, 3 if it is not settled.
    """
    from fewseconds.commands.studies import Effort
    from fewseconds.commands.sweep import sweep as command

    effort = Effort(
        hours=hours, whole=whole, replications=replications, most=most, precision=precision,
        engine=engine, processes=processes, cluster=cluster, results=results,
    )  # fmt: skip
    carry_out(
        lambda: command(scenario, vary, (sobol, morris), seed, effort, as_json=as_json),
        as_json=as_json,
        results=results,
    )


@app.command()
def capacity(
    scenario: Name,
    prices: Annotated[
        Path | None, typer.Option(help="TOML file of prices and lead times.", show_default=False)
    ] = None,
    outage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATION=MINUTES",
            help="What to drain; ten minutes of the bottleneck if not given. May be repeated.",
        ),
    ] = None,
    flips: Annotated[
        bool, typer.Option(help="Search the assumptions for the values that change the verdict.")
    ] = True,
    seed: Seed = None,
    hours: Hours = 1,
    whole: Whole = False,
    replications: Replications = 5,
    engine: Engine = "",
    processes: Processes = 0,
    cluster: Cluster = "",
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Say what every station needs, which is scarce first, how much more can come, what to buy.

    Exit code: 0 all gates met as the scenario is, 1 one surely missed, 3 one not settled.
    """
    from fewseconds.commands.capacity import capacity as command
    from fewseconds.commands.studies import Effort

    effort = Effort(
        hours=hours, whole=whole, replications=replications, engine=engine, processes=processes,
        cluster=cluster, results=results,
    )  # fmt: skip
    carry_out(
        lambda: command(
            scenario, prices, outage or [], seed, effort, with_flips=flips, as_json=as_json
        ),
        as_json=as_json,
        results=results,
    )
