"""The command line. Commands live in ``fewseconds.commands`` and are loaded when called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fewseconds import cli_studies
from fewseconds import cli_target as target
from fewseconds.cli_bench import bench_app
from fewseconds.cli_frame import (
    Commands,
    Json,
    Metrics,
    Month,
    Name,
    Otlp,
    Out,
    Seed,
    Slow,
    TraceShare,
)
from fewseconds.cli_frame import carry_out as _carry_out
from fewseconds.cli_load import load_app
from fewseconds.cli_scan import scan_app

app = typer.Typer(
    name="fewseconds",
    cls=Commands,
    help="Does paying an electricity bill by QR finish in a few seconds, for a whole city?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(scan_app, name="scan")
app.add_typer(load_app, name="load")
app.add_typer(bench_app, name="bench")
app.add_typer(cli_studies.app)

Database = Annotated[
    str,
    typer.Option(
        help="PostgreSQL database of the biller's ledger; a file in the folder if not given. "
        "Its password is best in ~/.pgpass: others see the command line.",
        metavar="URL",
        show_default=False,
    ),
]


@app.command()
@target.with_parties
def run(
    parties: target.Parties,
    scenario: Name = "ordinary_day",
    seed: Seed = None,
    results: Annotated[Path, typer.Option(help="Folder that gets a folder for this run.")] = Path(
        "results"
    ),
    month: Month = None,
    slow: Slow = None,
    metrics: Metrics = "",
    otlp: Otlp = "",
    trace_share: TraceShare = 0.01,
    dry_run: target.DryRun = False,
    as_json: Json = False,
) -> None:
    """Pay for real and in virtual time, audit, judge, and write one report.

    Exit code: 0 all gates met, 1 a gate failed, 2 scenario or usage wrong, 3 inconclusive.
    """
    from fewseconds.commands.run import Order
    from fewseconds.commands.run import run as command
    from fewseconds.commands.telemetry import telemetry

    def work() -> int:
        looking_on = telemetry(metrics, otlp, trace_share)
        order = Order(scenario, seed, results, month, slow or [], parties, looking_on, dry_run)
        return command(order, as_json=as_json)

    _carry_out(work, as_json=as_json, results=None if dry_run else results)


@app.command()
def plan(
    scenario: Name,
    seed: Seed = None,
    month: Month = None,
    out: Annotated[Path | None, typer.Option(help="Also write the plan as Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Make the plan of the month and print what is in it and its hash."""
    from fewseconds.commands.plan import plan as command

    _carry_out(
        lambda: command(scenario, seed, month, out, as_json=as_json),
        as_json=as_json,
        files={"--out": out},
    )


@app.command()
def simulate(
    scenario: Name,
    seed: Seed = None,
    engine: Annotated[
        Literal["numba", "simpy"],
        typer.Option(help="numba walks the whole plan; simpy, the reference, a part of it."),
    ] = "numba",
    consumers: Annotated[
        int | None,
        typer.Option(
            help="A city of so many consumers, walked whole; a larger one has larger stations.",
            min=1,
        ),
    ] = None,
    same_stations: Annotated[
        bool, typer.Option("--same-stations", help="A larger city has the scenario's stations.")
    ] = False,
    journeys: Annotated[
        int | None, typer.Option(help="Only so many journeys around the load window.", min=1)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check-engines", help="Compare the two engines row by row instead.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="The whole plan in constant memory, rows of a sample of journeys only."
        ),
    ] = False,
    rows: Annotated[
        Path | None, typer.Option(help="Also write all outcome rows into this Parquet file.")
    ] = None,
    month: Month = None,
    slow: Slow = None,
    results: Out = Path("results"),
    as_json: Json = False,
) -> None:
    """Walk the journeys of the plan in virtual time, judge them, and write a page.

    With --check-engines exit code 1 says that the engines differ.
    """
    from fewseconds.commands import simulate as commands
    from fewseconds.commands import stream as streaming

    part = commands.Part(engine, consumers, same_stations, journeys, month, slow or [], rows)
    _carry_out(
        lambda: (
            commands.check_engines(scenario, seed, part, as_json=as_json)
            if check
            else streaming.stream(scenario, seed, part, results, as_json=as_json)
            if stream
            else commands.simulate(scenario, seed, part, results, as_json=as_json)
        ),
        as_json=as_json,
        results=None if check else results,
        files={"--rows": rows},
    )


@app.command()
def describe(
    scenario: Name, month: Month = None, results: Out = Path("results"), as_json: Json = False
) -> None:
    """Describe the model as the STRESS-DES guidelines ask: logic drawn, every input's source."""
    from fewseconds.commands.describe import describe as command

    _carry_out(
        lambda: command(scenario, month, results, as_json=as_json), as_json=as_json, results=results
    )


@app.command()
def serve(
    scenario: Name,
    seed: Seed = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for ledger, logs and outcomes; a temporary one if not given."),
    ] = None,
    port: Annotated[
        int, typer.Option(help="First of four ports in a row; 0 picks free ones.", min=0, max=65000)
    ] = 0,
    smpp: Annotated[
        int | None,
        typer.Option(
            help="A port for SMPP 3.4 at the SMS gateway; 0 picks a free one.", min=0, max=65535
        ),
    ] = None,
    slow: Slow = None,
    database: Database = "",
    only: Annotated[
        list[str] | None, typer.Option(help="Start psp, biller, sms or portal alone; repeatable.")
    ] = None,
    biller_url: Annotated[
        str, typer.Option(help="A biller of your own, instead of the mock one.")
    ] = "",
    adapter: target.AdapterFile = None,
    secret_file: target.SecretFile = None,
    dlt: target.DltFile = None,
    allow_host: target.AllowHost = None,
    listen: Annotated[
        str, typer.Option(help="ADDRESS:PORT for payment service and SMS gateway; port as --port.")
    ] = "",
    allow_from: Annotated[
        list[str] | None, typer.Option(help="Network that may come in there, as CIDR; repeatable.")
    ] = None,
    public_url: Annotated[
        str, typer.Option(help="What others call the payment service, if not that address.")
    ] = "",
    faults: Annotated[
        bool,
        typer.Option("--faults", help="Let the run's token put faults in force: /test/v1/faults."),
    ] = False,
    bills: Annotated[
        Path | None,
        typer.Option(help="The mock biller's bills, CSV or Parquet; else made from the seed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run payer side, switch, banks, biller, portal and SMS gateway until Ctrl-C."""
    from fewseconds.commands.serve import Wanted
    from fewseconds.commands.serve import serve as command

    wanted = Wanted(
        scenario=scenario, seed=seed, folder=folder, port=port, smpp=smpp, slow=tuple(slow or ()),
        database=database, only=tuple(only or ()), biller_url=biller_url, adapter=adapter,
        secret_file=secret_file, allow_host=tuple(allow_host or ()), listen=listen, dlt=dlt,
        allow_from=tuple(allow_from or ()), public_url=public_url, faults=faults, bills=bills,
    )  # fmt: skip
    _carry_out(
        lambda: command(wanted, as_json=as_json), as_json=as_json, folders={"--folder": folder}
    )


@app.command()
def conform(
    url: Annotated[
        str, typer.Argument(help="Address of the biller, such as http://127.0.0.1:8001.")
    ],
    secret_file: Annotated[
        Path,
        typer.Option(help="Secret that signs callbacks: a text, or secrets.json of `serve`."),
    ],
    bills: Annotated[
        Path | None, typer.Option(help="Open bills, CSV or Parquet; the scenario's if not given.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="How the biller is spoken to: a TOML or a Python file.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A machine other than this one that may be spoken to.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the cases as JUnit XML, too.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write a page, HTML, that shows them.")] = None,
    scenario: Annotated[str, typer.Option(help="Whose bills the mock biller knows.")] = "smoke",
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Check the contract of a biller, one payment at a time: is no rupee lost or counted twice?"""
    from fewseconds.commands.conform import Options
    from fewseconds.commands.conform import conform as command

    options = Options(
        url=url, scenario=scenario, seed=seed, bills=bills, adapter=adapter,
        secret_file=secret_file, allow_host=tuple(allow_host or ()), out=junit, page=page,
    )  # fmt: skip
    _carry_out(
        lambda: command(options, as_json=as_json),
        as_json=as_json,
        files={"--junit": junit, "--page": page},
    )


@app.command()
def audit(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            help="Run folders such as results/latest, ledger files, postgresql:// addresses.",
            metavar="DATABASE…",
        ),
    ] = None,
    database: Database = "",
    acks: Annotated[
        Path | None, typer.Option(help="What payers were told: a file or folder of a run's.")
    ] = None,
    settlement: Annotated[
        Path | None, typer.Option(help="The payment service's settlement file, CSV or JSON.")
    ] = None,
    receipts: Annotated[
        Path | None, typer.Option(help="The biller's receipts, CSV or JSON.")
    ] = None,
    sms_log: Annotated[Path | None, typer.Option(help="The gateway's log, CSV or JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Check the ledger of a run against what was paid: no rupee lost, none counted twice.

    Without a database, the files say what they can; what nothing can tell is listed with its why.
    """
    from fewseconds.commands.audit import Order
    from fewseconds.commands.audit import audit as command

    order = Order(
        places=tuple(places or ()), database=database, acks=acks, settlement=settlement,
        receipts=receipts, sms_log=sms_log,
    )  # fmt: skip
    _carry_out(lambda: command(order, as_json=as_json), as_json=as_json)


@app.command()
def scenarios(as_json: Json = False) -> None:
    """List the scenarios that come with the product."""
    from fewseconds.commands.scenarios import scenarios as command

    _carry_out(lambda: command(as_json=as_json), as_json=as_json)


def main() -> None:
    """Entry point of the ``fewseconds`` command."""
    app()
