"""Options of every command that can put its load on parties that are not ours."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from fewseconds.parties import Parties as Parties  # noqa: PLC0414 - commands name it through here

if TYPE_CHECKING:
    from collections.abc import Callable

PspUrl = Annotated[
    str, typer.Option(help="A payment service of your own: nothing of ours is started then.")
]
BillerUrl = Annotated[str, typer.Option(help="A biller of your own, behind our payment service.")]
SmsUrl = Annotated[
    str, typer.Option(help="Where the SMS can be seen to arrive; else nobody looks.")
]
Bills = Annotated[
    Path | None,
    typer.Option(help="Open bills, CSV or Parquet, each paid once; with --bbps-url, consumers."),
]
BbpsUrl = Annotated[
    str, typer.Option(help="A biller whose bills are fetched over BBPS (/bills/fetch).")
]
ResetHook = Annotated[
    str,
    typer.Option(
        "--reset",
        metavar="HOOK",
        help="A command or an address that opens all bills, before a run.",
    ),
]
AdapterFile = Annotated[
    Path | None, typer.Option("--adapter", help="How that biller is spoken to: TOML or Python.")
]
DltFile = Annotated[
    Path | None,
    typer.Option("--dlt", help="TOML: entity, headers and templates that SMS may be sent with."),
]
SecretFile = Annotated[
    Path | None, typer.Option("--secret-file", help="Secret that signs the callbacks to it.")
]
Credentials = Annotated[
    Path | None,
    typer.Option("--credentials", help="Headers for psp, sms, bbps and reset; never shown."),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="A machine besides this one; repeatable."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be sent, where and how often; send nothing."),
]


OPTIONS: Final[dict[str, tuple[Any, Any]]] = {
    "psp_url": (PspUrl, ""),
    "biller_url": (BillerUrl, ""),
    "sms_url": (SmsUrl, ""),
    "bills": (Bills, None),
    "bbps_url": (BbpsUrl, ""),
    "reset": (ResetHook, ""),
    "adapter": (AdapterFile, None),
    "secret_file": (SecretFile, None),
    "credentials": (Credentials, None),
    "allow_host": (AllowHost, None),
}
"""Each with its default."""


def with_parties(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options instead of its parameter ``parties``, which they become."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:  # noqa: ANN401 - whatever the options hold
        said = {name: given.pop(name) for name in OPTIONS}
        said["allow_host"] = tuple(said["allow_host"] or ())
        command(**given, parties=Parties(**said))

    # The command line is made from the signature, so that is where the options have to stand.
    hints = get_type_hints(command, include_extras=True)
    own = [
        one.replace(annotation=hints[one.name])
        for one in inspect.signature(command).parameters.values()
        if one.name != "parties"
    ]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in OPTIONS.items()
    ]
    kept = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    wrapped.__signature__ = inspect.Signature([*kept, *more])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in (*kept, *more)}
    return wrapped
