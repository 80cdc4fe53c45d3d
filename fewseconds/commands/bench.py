"""``fewseconds bench``: our speed beside that of the best."""

from __future__ import annotations

import statistics

import msgspec

from fewseconds.commands import console
from fewseconds.commit import commit
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK


def bench_client(requests: int, repeats: int, *, as_json: bool) -> int:
    """Measure every client, and print."""
    from rich.table import Table

    from loadtests.bench import bench

    state = commit()
    console.say(f"requests={requests} repeats={repeats} engine=clients commit={state}")
    with console.progress() as say:
        found = bench(requests, repeats, say)
    base = found["lean"].cpu_us_per_request
    ratios = {
        name: None if one.cpu_us_per_request is None or base is None
        else one.cpu_us_per_request / base
        for name, one in found.items()
    }  # fmt: skip
    if as_json:
        console.print_json(
            {
                "engine": "clients",
                "commit": state,
                "requests": requests,
                "clients": msgspec.to_builtins(found),
                "ratio_to_lean": ratios,
            }
        )
        return EXIT_OK
    table = Table("client", "µs CPU a request", "ratio to ours", "from … to")
    for name, one in found.items():
        if one.cpu_us_per_request is None:
            table.add_row(name, "–", "–", one.note)
        else:
            span = f"{min(one.repeats):.1f} … {max(one.repeats):.1f}"
            table.add_row(name, f"{one.cpu_us_per_request:.1f}", f"{ratios[name]:.2f}", span)
    console.out.print(table)
    return EXIT_OK


def bench_journeys(
    name: str, rate: float, seconds: float, repeats: int, *, quick: bool, scans: str,
    as_json: bool,
) -> int:  # fmt: skip
    """Measure what a journey costs the generator, and print."""
    from loadtests.bench_journeys import bench

    state = commit()
    console.say(f"scenario={name} rate={rate:g} repeats={repeats} engine=locust commit={state}")
    with console.progress() as say:
        found = [
            bench(
                name,
                rate,
                seconds,
                say,
                quick=quick,
                scans=scans,
                stage=f"{number + 1} of {repeats}",
            )
            for number in range(repeats)
        ]
    costs = sorted(one.cpu_ms_per_journey for one in found)
    middle = statistics.median(costs)
    if as_json:
        fields = {"engine": "locust", "commit": state, "scenario": name, "quick_people": quick}
        fields["scans"] = scans
        figures = {"cpu_ms_per_journey": middle, "journeys_per_core_second": 1e3 / middle}
        console.print_json({**fields, **figures, "repeats": msgspec.to_builtins(found)})
        return EXIT_OK
    console.show(
        f"{middle:.2f} ms of processor time a journey (from {costs[0]:.2f} to {costs[-1]:.2f}): "
        f"{1e3 / middle:.0f} journeys a second of one core; steps began up to "
        f"{max(one.lag_ms_p99 for one in found):.1f} ms late (99th percentile)"
    )
    return EXIT_OK


def bench_services_memory(journeys: int, *, as_json: bool) -> int:
    """Measure what the services hold while so many journeys pass, and print."""
    from rich.table import Table

    from mock_psp.bench_memory import bench_memory

    state = commit()
    console.say(f"journeys={journeys} engine=services commit={state}")
    with console.progress() as say:
        found = bench_memory(journeys, say)
    if as_json:
        fields = {"engine": "services", "commit": state}
        console.print_json({**fields, **msgspec.to_builtins(found)})
        return EXIT_OK
    percents = next(iter(found.rss_mib.values()))
    table = Table("resident MiB after", *(f"{percent} %" for percent in percents), "end to half")
    for name, held in found.rss_mib.items():
        ratio = f"{found.growth[name]:.3f}"
        table.add_row(name, *(f"{held[percent]:.0f}" for percent in percents), ratio)
    console.out.print(table)
    return EXIT_OK


def bench_decoding(turns: int, seconds: float, share: float, *, as_json: bool) -> int:
    """Measure how far decoding moves a probe's p99, and print; returns the exit code."""
    from loadtests.bench_decoding import bench

    state = commit()
    console.say(f"turns={turns} seconds={seconds:g} engine=locust commit={state}")
    with console.progress() as say:
        found = bench(turns, seconds, share, say)
    codes = {"pass": EXIT_OK, "fail": EXIT_GATE_FAILED, "inconclusive": EXIT_INCONCLUSIVE}
    if as_json:
        console.print_json({"engine": "locust", "commit": state, **msgspec.to_builtins(found)})
        return codes[found.verdict]
    if found.ratio is not None and found.noise is not None:
        console.show(
            f"decoding at {found.decoding_share:.0%} of a processor: the p99 of the same server is "
            f"{found.ratio:.3f} times that without (median of the {found.counted} of {turns} turns "
            f"that were valid; two measurements without differ by {found.noise:.1%})"
        )
    console.show(found.verdict.upper())
    return codes[found.verdict]


def bench_services(repeats: int, database: str, *, as_json: bool) -> int:
    """Measure what the services cost, and print."""
    from rich.table import Table

    from mock_psp.bench import bench

    state = commit()
    console.say(f"repeats={repeats} engine=services commit={state}")
    with console.progress() as say:
        found = bench(repeats, database, say)
    if as_json:
        fields = {"engine": "services", "commit": state}
        console.print_json({**fields, **msgspec.to_builtins(found)})
        return EXIT_OK
    table = Table("figure", "median", "from … to")
    for name, values in found.repeats.items():
        middle = sorted(values)[len(values) // 2]
        table.add_row(name, f"{middle:.1f}", f"{min(values):.1f} … {max(values):.1f}")
    console.out.print(table)
    return EXIT_OK
