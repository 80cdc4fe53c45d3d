"""``fewseconds conform``: does somebody's biller keep the rules that money rests on?"""

from __future__ import annotations

import datetime as dt
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from fewseconds import address, junit
from fewseconds.commands import conform_page, console
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.identity import Bill
    from fewseconds.scenario import Scenario
    from mock_psp.conformance_cases import Verdict

OWN_BILLS: Final = 2000
"""Bills of the mock biller that are tried at most."""
LONG_OVERDUE_DAYS: Final = 60
"""A bill of a file that is due for longer counts as expired."""
MARKS: Final = {"pass": "✓", "fail": "✗", "skipped": "–"}
KINDS: Final[dict[str, Literal["", "failure", "skipped"]]] = {
    "pass": "",
    "fail": "failure",
    "skipped": "skipped",
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    url: str
    scenario: str
    seed: int | None
    bills: Path | None
    adapter: Path | None
    secret_file: Path
    allow_host: tuple[str, ...]
    out: Path | None
    page: Path | None = None


def conform(options: Options, *, as_json: bool) -> int:
    """Put every case to the biller; exit code 1 if one fails, 3 if the open bills ran out.

    Raises UsageError before anything is sent, HarnessError if nobody answers.
    """
    scenario = console.load(options.scenario)
    seed = scenario.seed if options.seed is None else options.seed
    from mock_psp import adapter, conformance, conformance_cases
    from mock_psp.secret_file import secret

    address.check(options.url, options.allow_host, secrets=address.IN_ADAPTER)

    told = adapter.load(options.adapter or adapter.OWN)
    signs = secret(options.secret_file)
    fields = console.header(scenario, seed, "conform")
    if options.bills is None:
        open_bills, expired = _own_bills(scenario, seed)
    else:
        open_bills, expired = _bills_of(options.bills)
    talk = conformance.Conversation(options.url, told, signs, open_bills, expired)
    verdicts, begun = [], time.monotonic()
    for verdict in conformance_cases.judge(talk):
        verdicts.append(verdict)
        if not as_json:
            _show(verdict)
    counts = {word: sum(one.word == word for one in verdicts) for word in MARKS}
    if options.out is not None:
        cases = [
            junit.Case(one.name, KINDS[one.word], one.observed, one.expected) for one in verdicts
        ]
        try:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            junit.write_cases(options.out, "fewseconds.conform", cases)
        except OSError as error:
            raise UsageError(f"{options.out}: cannot be written: {error.strerror}") from None
    if options.page is not None:
        shown = conform_page.page(options.url, verdicts, fields, time.monotonic() - begun)
        try:
            options.page.parent.mkdir(parents=True, exist_ok=True)
            conform_page.write(options.page, shown)
        except OSError as error:
            raise UsageError(f"{options.page}: cannot be written: {error.strerror}") from None
    if as_json:
        cases_json = [msgspec.to_builtins(one) for one in verdicts]
        console.print_json({**fields, "url": options.url, **counts, "cases": cases_json})
    else:
        console.show(", ".join(f"{count} {word}" for word, count in counts.items()))
    if counts["fail"]:
        return EXIT_GATE_FAILED
    if any(one.for_want_of_bills for one in verdicts):
        console.say("inconclusive: there were too few open bills for all cases; give more of them")
        return EXIT_INCONCLUSIVE
    return EXIT_OK


def _show(verdict: Verdict) -> None:
    console.show(f"{MARKS[verdict.word]} {verdict.name}")
    if verdict.word == "fail":
        console.show(f"    expected: {verdict.expected}")
        console.show(f"    observed: {verdict.observed}")
    elif verdict.word == "skipped":
        console.show(f"    skipped: {verdict.observed}")


def _own_bills(scenario: Scenario, seed: int) -> tuple[Iterator[Bill], Bill | None]:
    """Bills of the mock biller, of the month that it plays, and one of half a year before.

    Where the amount depends on the day, a bill comes at each of its amounts, and the biller says
    which of them it takes today.
    """
    from fixtures import bills, tariff

    issue, consumers = bills.Issue.of(scenario, seed), scenario.consumers
    old = (issue.month - dt.timedelta(days=180)).replace(day=1)
    expired = msgspec.structs.replace(issue, month=old).bill(0)
    # In no order: after a load test the first ones are all paid.
    chosen = secrets.SystemRandom().sample(range(consumers), min(consumers, OWN_BILLS))
    made = (issue.bill(index) for index in chosen)
    return (
        msgspec.structs.replace(bill, amount_paise=amount_paise)
        for bill in made
        for amount_paise in sorted(tariff.amounts(bill, scenario.billing))
    ), expired


def _bills_of(path: Path) -> tuple[Iterator[Bill], Bill | None]:
    """Open bills of a file, and one that is long overdue if it has one."""
    from fewseconds.identity import IST
    from fixtures import bill_file

    rows = bill_file.read(path)
    limit = dt.datetime.now(IST).date() - dt.timedelta(days=LONG_OVERDUE_DAYS)
    late = [bill for bill in rows if bill.due_on < limit]
    return iter([bill for bill in rows if bill.due_on >= limit]), late[0] if late else None
