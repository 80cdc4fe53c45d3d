"""``fewseconds load search``: the highest rate at which a server meets a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds import address
from fewseconds.commands import console
from fewseconds.commands.load import header, limits, longer_than_nothing, rate, seconds
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK
from loadtests.probe import ProbeResult, ProbeSpec, judge, sent
from loadtests.search import Found, Search, SearchSpec

if TYPE_CHECKING:
    from loadtests.recorder import Report


class SearchWish(msgspec.Struct, frozen=True, kw_only=True):
    """A search as it is asked for at the command line."""

    url: str
    slo: str
    rate_from: float
    rate_to: float
    step: str = "10s"
    settle: str = "2s"
    precision: float = 0.03
    poisson: bool = True
    processes: int = 1
    seed: int = 1
    allow_host: list[str] = []


def load_search(wish: SearchWish, *, as_json: bool) -> int:
    """Search, and print; returns the exit code."""
    address.check(wish.url, wish.allow_host)
    base = ProbeSpec(
        url=wish.url,
        stages=[],
        seed=wish.seed if wish.poisson else None,
        limits=limits([wish.slo]),
        timeout_s=10.0,
    )
    spec = SearchSpec(
        rate_from=rate("--from", wish.rate_from),
        rate_to=rate("--to", wish.rate_to),
        step_s=longer_than_nothing(wish.step, "--step"),
        settle_s=seconds(wish.settle, "--settle"),
        precision=wish.precision,
    )
    fields = header(wish.url, base.seed)

    def once(order: ProbeSpec) -> tuple[ProbeResult, Report]:
        summary = sent(order, lambda *_: None, wish.processes)
        return judge(order, summary), summary.report

    with console.progress() as say:
        found = Search(spec, base, once, say).run()
    if as_json:
        console.print_json(fields | msgspec.to_builtins(found))
    else:
        _show(found, wish.slo)
    codes = {"pass": EXIT_OK, "fail": EXIT_GATE_FAILED, "inconclusive": EXIT_INCONCLUSIVE}
    return codes[found.verdict]


def _show(found: Found, slo: str) -> None:
    from rich.table import Table

    table = Table("requests/s", "s", "too slow", "interval", "observed, ms", "", box=None)
    for step in found.steps:
        observed = "never" if step.observed_ms is None else f"{step.observed_ms:.1f}"
        table.add_row(
            f"{step.rate:.1f}", f"{step.seconds:.0f}", f"{step.too_slow_share:.2%}",
            f"{step.low:.2%} … {step.high:.2%}", observed, step.word,
        )  # fmt: skip
    console.out.print(table)
    if found.reason:
        console.show(found.reason)
    lo = "–" if found.lo is None else f"{found.lo:.1f}"
    hi = "–" if found.hi is None else f"{found.hi:.1f}"
    console.show(f"{slo} is met up to a rate between {lo} and {hi} requests/s")
