"""``fewseconds scan try``: how often and how fast each decoder reads each medium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console

if TYPE_CHECKING:
    from fixtures.read_rates import ReadRate


def scan_try(name: str, seed: int | None, consumers: int, *, as_json: bool) -> int:
    """Measure, and print the variants of a scenario's camera station."""
    scenario = console.load(name)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "camera")
    from fewseconds.scenario import MEDIA, SCANNERS
    from fixtures.read_rates import first_frame_rates

    persistence = scenario.stations["camera"].persistence if "camera" in scenario.stations else 0.0
    total, done = consumers * len(MEDIA), 0
    with console.progress() as say:

        def tick() -> None:
            nonlocal done
            done += 1
            say("photographing", done / total)

        rates = first_frame_rates(seed, consumers, MEDIA, SCANNERS, tick)
    if as_json:
        rows = [
            msgspec.to_builtins(rate) | {"persistence": kept(rate, persistence)} for rate in rates
        ]
        console.print_json(fields | {"consumers": consumers, "rates": rows})
    else:
        command = f"`fewseconds scan try {name} --seed {seed} --consumers {consumers}`"
        for rate in rates:
            console.show(variant(rate, persistence, command))
    return 0


def kept(rate: ReadRate, persistence: float) -> float:
    """The chance that a frame shares the luck of an unread one before it, as the engines model it.

    In the engines a frame either shares the luck of the one before it or is drawn afresh, so the
    frame after an unread one is read with probability ``(1 - kept) * first``. The camera keeps the
    pose with chance ``persistence``, but its noise is new in every frame: there it is
    ``persistence * same + (1 - persistence) * fresh``. Setting both equal gives ``kept``.
    """
    same, fresh = rate.same_after_failure_share, rate.fresh_after_failure_share
    if same is None or fresh is None or rate.first_read_share == 0:
        return 1.0
    after = persistence * same + (1 - persistence) * fresh
    return min(max(1 - after / rate.first_read_share, 0.0), 1.0)


def variant(rate: ReadRate, persistence: float, command: str) -> str:
    """A measured rate as the lines of a scenario file."""
    source = f"measured: {command}"
    place = f'[stations.camera.variants."{rate.medium}/{rate.decoder}"]'
    unread = round(1 - rate.first_read_share, 4)
    failure = f'{{ outcome = "error", code = "unread", share = {unread}, source = "{source}" }}'
    p50, p95 = (
        max(rate.decode_us_p50, 1) / 1000,
        max(rate.decode_us_p95, rate.decode_us_p50, 1) / 1000,
    )
    law = f'{{ law = "lognormal", median_ms = {p50:g}, p95_ms = {p95:g}, source = "{source}" }}'
    return (
        f"{place}\npersistence = {kept(rate, persistence):.3f}\n"
        f"failures = [{failure}]\nservice_time = {law}\n"
    )
