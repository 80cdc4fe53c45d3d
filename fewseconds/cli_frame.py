"""What all commands of the command line share: their common options, and how they end."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from fewseconds.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    FewsecondsError,
    HarnessError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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


class Commands(TyperGroup):
    """The root of the command line: what Typer itself refuses is said to programs as well.

    An unknown option, a word where a number should be or a missing argument is found before any
    command begins, so none of them could print the one object that ``--json`` asks for. Typer says
    it to the person at the keyboard all the same, on stderr.
    """

    _as_json = False

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:  # noqa: ANN401 - Typer's own types are private
        """As Typer's, of the words of the command line; reading them uses them up."""
        self._as_json = "--json" in args
        with self._refusing():
            return super().make_context(info_name, args, *more, **extra)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """As Typer's: find the command, read its words, and do it."""
        with self._refusing():
            return super().invoke(ctx)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except typer.TyperException as refusal:
            if self._as_json:
                from fewseconds.commands import console

                console.print_json({"error": _refused(refusal), "exit_code": EXIT_USAGE})
            raise


def _refused(refusal: typer.TyperException) -> str:
    """What Typer refuses, in the form of our own errors."""
    context = getattr(refusal, "ctx", None)
    place = "fewseconds" if context is None else context.command_path
    return f"{place}: {refusal.format_message().rstrip('.')}; see `{place} --help`"


def carry_out(
    work: Callable[[], int],
    *,
    as_json: bool,
    results: Path | None = None,
    folders: Mapping[str, Path | None] = {},
    files: Mapping[str, Path | None] = {},
) -> NoReturn:
    """Do the work of a command: errors in words, exit codes by their meaning.

    What it is going to write (see :func:`fewseconds.results.ready`) is looked at before it begins.
    Python ends with 1 whatever it does not know, and here 1 says that a gate has failed.
    """
    from fewseconds.commands import console
    from fewseconds.results import ready

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        ready(results, folders, files)
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
