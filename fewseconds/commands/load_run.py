"""``fewseconds load run``: load alone, in any shape."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fewseconds.commands import console
from fewseconds.commands.load import again, insisted, seconds, stages
from fewseconds.concealed import recorded
from fewseconds.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from fewseconds.load_run import LoadRecord
    from fewseconds.parties import Parties
    from fewseconds.real_target import RealTarget
    from fewseconds.run import LoadWish
    from fewseconds.scenario import Scenario
    from fewseconds.schedule import Stage
    from fewseconds.shapes import Shape


class Order(NamedTuple):
    """What the command line says."""

    scenario: str
    consumers: int
    """0 is the scenario's own."""
    seed: int | None
    results: Path
    wish: LoadWish
    slow: list[str]
    parties: Parties
    on_inconclusive: str
    dry_run: bool


def asked_for(shape: str, rate: float, duration: str) -> tuple[float, tuple[Stage, ...]]:
    """Length of the window in seconds (0 is the scenario's own) and its stages, if it has any.

    Raises UsageError.
    """
    duration_s = seconds(duration, "--duration")
    if shape == "flat":
        return duration_s, ()
    if not rate or not duration_s:
        message = f"--shape {shape!r}: needs --constant-rate and --duration; give both"
        raise UsageError(message)
    return duration_s, tuple(stages(shape, rate, duration_s))


def scans(text: str) -> tuple[str, str]:
    """How bills are decoded, and the corpus if one is named; raises UsageError for neither."""
    if text in ("auto", "camera", "printed"):
        return text, ""
    if Path(text).is_file():
        return "auto", text
    message = (
        f"--decoding {text!r}: is neither auto, camera nor printed, nor a file; make one with "
        "`fewseconds load corpus SCENARIO FILE`"
    )
    raise UsageError(message)


def grace(text: str) -> float:
    """How long a gate may be broken, in seconds; raises UsageError."""
    return seconds(text, "--abort-after")


def load_run(order: Order, *, as_json: bool) -> int:
    """Put the load on, and print; returns the exit code."""
    scenario = console.load(order.scenario, order.slow, consumers=order.consumers)
    seed = scenario.seed if order.seed is None else order.seed
    from fewseconds.real_target import checked

    real = checked(order.parties, scenario, seed, order.wish.shape)
    fields = console.header(scenario, seed, "locust")
    if order.dry_run:
        return told_only(scenario, seed, order.wish.shape, real, fields, as_json=as_json)
    from fewseconds import junit, markdown
    from fewseconds.load_run import run

    wish = msgspec.structs.replace(order.wish, real=real)
    console.say(wish.shape.says())
    for note in real.notes() if real else ():
        console.say(note)

    # Everything that was said stands on the command line; credentials are in files, or hidden.
    command = shlex.join(["fewseconds", *recorded(sys.argv[1:])])

    def once() -> tuple[str, LoadRecord]:
        with console.progress() as say:
            record = run(scenario, seed, order.results, wish, say, command)
        return record.word, record

    record, tries, code = insisted(once, order.on_inconclusive)
    if as_json:
        folder = Path(record.folder)
        places = {
            "outcomes": str(folder / "outcomes"),
            "junit": str(folder / junit.FILE_NAME),
            "markdown": str(folder / markdown.FILE_NAME),
        }
        console.print_json(fields | msgspec.to_builtins(record) | places | {"tries": tries})
    else:
        _show(record)
    return code


def told_only(
    scenario: Scenario, seed: int, shape: Shape, real: RealTarget | None, fields: dict[str, Any],
    *, as_json: bool,
) -> int:  # fmt: skip
    """Print what a run would send; nothing is sent."""
    from fewseconds.dry_run import dry_run
    from fewseconds.plan import plan
    from fewseconds.real_target import RealTarget

    target, whole = real or RealTarget(), plan(scenario, seed)
    window, window_us = target.window(whole, shape)
    told = dry_run(window, window_us, target, target.plan_hash(whole))
    if as_json:
        console.print_json(fields | {"sent": 0, **msgspec.to_builtins(told)})
        return EXIT_OK
    console.show(
        f"would begin {told.journeys} journeys, {told.journeys_per_s:.1f} a second, in a window of "
        f"{told.duration_s:g} s; {shape.says()}"
    )
    if told.reset:
        console.show(f"before that, the reset hook: {told.reset}")
    for one in told.requests:
        console.show(f"\n{one.method} {one.url}")
        console.show(f"    from {one.sender}, {one.times}")
        for name, value in one.headers.items():
            console.show(f"    {name}: {value}")
        if one.body is not None:
            console.show(f"    {msgspec.json.encode(one.body).decode()}")
    for note in told.notes:
        console.show(note)
    console.show("nothing has been sent")
    return EXIT_OK


def _show(record: LoadRecord) -> None:
    fates = ", ".join(f"{count} {fate}" for fate, count in record.fates.items())
    console.show(f"{record.journeys} journeys at {record.journeys_per_s:.1f}/s: {fates}")
    console.show(record.decoding)
    if record.retried:
        console.show(again(record.retried))
    if record.aborted:
        console.show("stopped: a gate had been broken for as long as --abort-after allows")
    for name, grown in record.growth.items():
        console.show(
            f"memory of {name}: {grown.second_quarter_mb:.0f} MB in the second quarter, "
            f"{grown.last_quarter_mb:.0f} MB in the last, {grown.max_mb:.0f} MB at most"
        )
    console.show_verdicts(record.verdicts)
    held = sum(check.passed for check in record.checks)
    console.show(f"the audit: {held} of {len(record.checks)} checks hold")
    for check in record.checks:
        if not check.passed:
            console.show(f"  {check.name}: {check.violations} of {check.checked}")
            for line in check.first:
                console.show(f"    {line}")
    for one in record.unchecked:
        console.show(f"  {one.name}: not checked, {one.why}")
    for reason in record.validity.reasons:
        console.show(reason)
    console.show(f"{record.word.upper()}  {record.folder}")
