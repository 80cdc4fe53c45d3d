"""What all commands of the command line share: their common options, and how they end."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from fewseconds.errors import EXIT_INCONCLUSIVE, EXIT_INTERRUPTED, FewsecondsError, HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

Name = Annotated[
    str,
    typer.Argument(
        help="Name of a shipped scenario (see `fewseconds scenarios`) or path of a TOML file.",
        metavar="SCENARIO",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of everything; the scenario's own if not given.", min=0, max=2**63 - 1),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, progress on stderr.")
]
Out = Annotated[
    Path, typer.Option("--results", "--out", help="Folder that gets a folder with the report page.")
]
Month = Annotated[
    int | None,
    typer.Option(help="Which month of the scenario's paths and season; 1 is its first.", min=1),
]
Slow = Annotated[
    list[str] | None,
    typer.Option(
        "--slow",
        metavar="STATION=FACTOR",
        help="Deliberately stretch a station's service times; may be repeated.",
    ),
]
Metrics = Annotated[
    str,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Answer Prometheus here while the load runs; on this machine only without a HOST.",
        show_default=False,
    ),
]
Otlp = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="Send traces of journeys to an OpenTelemetry collector, such as http://HOST:4318.",
        show_default=False,
    ),
]
TraceShare = Annotated[
    float, typer.Option(help="Which share of the journeys is traced.", min=0.0, max=1.0)
]


def carry_out(work: Callable[[], int], *, as_json: bool) -> NoReturn:
    """Do the work of a command: errors in words, exit codes by their meaning.

    Python ends with 1 whatever it does not know, and here 1 says that a gate has failed.
    """
    from fewseconds.commands import console

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = work()
    except FewsecondsError as error:
        console.say_error(error, as_json=as_json)
        code = error.exit_code
    except KeyboardInterrupt:
        console.say("interrupted; everything that was started has been stopped")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        code = _unheard()
    except Exception as error:  # noqa: BLE001 - whatever it is, it says nothing of the system
        code = _report(error, as_json=as_json)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # What was found out stays what it is.
        _unheard()
    raise typer.Exit(code)


def _report(error: Exception, *, as_json: bool) -> int:
    """Say what only a developer can mend; returns the exit code."""
    from fewseconds.commands import console
    from fewseconds.commit import commit

    console.say("".join(traceback.format_exception(error)).rstrip())
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    message = (
        f"fewseconds {commit()}: {what}; this is a fault of ours, nothing is said about the "
        "system: please report it with the lines above"
    )
    console.say_error(HarnessError(message), as_json=as_json)
    return EXIT_INCONCLUSIVE


def _unheard() -> int:
    """Whoever read our output has gone, as ``head`` does; nobody is left to be told."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_INCONCLUSIVE


def _interrupt(*_: Any) -> NoReturn:  # noqa: ANN401 - a signal handler's arguments
    raise KeyboardInterrupt
