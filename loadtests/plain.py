"""Orders of a load test that a person starts with stock Locust, from its page or its command line.

``fewseconds load run`` writes orders into a file. Here they are made from Locust's own options and
from the user classes that were picked: each stands for a part of the scenario's plan.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from fewseconds import address, scenario_file
from fewseconds.errors import UsageError
from fewseconds.payer_app import Polls
from fewseconds.plan import Plan, plan
from fewseconds.results import new_folder
from fewseconds.scenario import Scenario
from fewseconds.shapes import Shape
from loadtests import corpus
from loadtests.launch import Generator
from loadtests.spec import OFFSET_UNIT, OFFSETS, Outside, Services, Targets, unplayable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loadtests.spec import LoadSpec

GAP_US: Final = 1_500_000
"""Between the two phones of a household: about as long as it takes to say "shall I pay it?"."""
STORM_SQUEEZE: Final = 5
"""So many times the rate: everybody comes within a fifth of the window."""


class Part(msgspec.Struct, frozen=True):
    """What a user class stands for; empty means any."""

    kinds: tuple[str, ...] = ()
    app: str = ""
    doubled: bool = False
    """Every bill is paid twice: two phones of a household."""
    storm: bool = False
    """Everybody at once, and every app asks every second what became of a pending payment."""


World = tuple[Scenario, int, Targets, str, Services | None]
"""Scenario, seed, addresses, the token of the inboxes, and the services if they are known."""
EVERYBODY: Final = Part()
"""In the shares that the scenario says."""


def add_options(parser: Any) -> None:  # noqa: ANN401 - Locust's parser is untyped
    """Locust's own parser learns ours; they are on its page as well."""
    add = parser.add_argument_group("fewseconds").add_argument
    add(
        "--services", default="",
        help="Folder that `fewseconds serve` has named: it knows addresses, scenario and seed",
    )  # fmt: skip
    add("--scenario", default="smoke", help="Without --services: a shipped scenario or TOML file")
    add("--plan-seed", type=int, default=0, help="Without --services: 0 is the scenario's own")
    add("--psp-url", default="", help="The payer's payment service, instead of --services")
    add("--sms-url", default="", help="Where SMS are read, if there is such a place")
    add("--portal-url", default="", help="The old portal, for the portal's user classes")
    add("--allow-host", default="", help="Hosts besides this machine that may be loaded, by comma")
    add("--rate-scale", type=float, default=1.0, help="So many times the scenario's own rate")
    add("--journeys", type=int, default=0, help="At most so many journeys; 0 is the whole window")
    add(
        "--scans", default="",
        help="File that `fewseconds load corpus` has made; without it phones take the printed text",
    )  # fmt: skip
    add("--results", default="results", help="Folder that gets a folder with what happened")


def orders(options: Any, parts: Iterable[Part]) -> LoadSpec:  # noqa: ANN401 - as above
    """Plan it and write the orders into a folder of their own.

    Raises UsageError, and MalformedError for scans that cannot be read.
    """
    chosen = tuple(parts)
    scenario, seed, targets, token, services = _world(options)
    if any(part.storm for part in chosen):
        scenario = stormy(scenario)
    shape = Shape(rate_scale=options.rate_scale, journeys_max=options.journeys)
    whole = plan(scenario, seed)
    window, window_us = shape.window(picked(whole, chosen))
    if any(part.doubled for part in chosen):
        window = doubled(window)
    if any(part.storm for part in chosen):
        window = squeezed(window, window_us[0])
    if not len(window):
        message = (
            f"{scenario.name}: none of its journeys in the window is one of the user classes that "
            "were picked; pick others, or another --scenario"
        )
        raise UsageError(message)
    strange = unplayable(scenario)
    if strange:
        raise UsageError("\n".join(f"{scenario.name}: {line}" for line in strange))
    scans = options.scans and str(Path(options.scans).resolve())
    if scans:
        corpus.fitting(Path(scans), window, whole.digest, ())
    folder = new_folder(Path(options.results), f"{scenario.name}-locust")
    outside = Outside(journey_offset=OFFSET_UNIT * _turn(options.services))
    generator = Generator(
        folder, window, window_us, targets, token, decoding="printed", corpus=scans,
        outside=outside,
    )  # fmt: skip
    return msgspec.structs.replace(generator.spec, parent=0, services=services)


def _turn(services: str) -> int:
    """Which run this is against its services: 0 is the first that `fewseconds serve` has seen.

    Services outlive runs that are started by hand, and would answer a second run's payments from
    what they remember of the first's, at once. The first run draws as the plan's journeys do.
    """
    if not services:
        return 1 + secrets.randbelow(OFFSETS)
    turn = 0
    while True:
        try:
            # Making a folder is all or nothing, also between two that start at the same moment.
            (Path(services) / f"turn-{turn}").mkdir()
        except FileExistsError:
            turn += 1
        else:
            return turn


def stormy(scenario: Scenario) -> Scenario:
    """The same with apps that ask every second what became of a pending payment."""
    polls = Polls(first_ms=1000, waits_ms=(1000,), asks_max=30, source="assumption: a storm")
    apps = {name: msgspec.structs.replace(app, polls=polls) for name, app in scenario.apps.items()}
    return msgspec.structs.replace(scenario, apps=apps)


def _world(options: Any) -> World:  # noqa: ANN401 - as above
    if options.services:
        return _served(Path(options.services))
    if not options.psp_url:
        message = (
            "no services to load: start them with `fewseconds serve SCENARIO` and name the folder "
            "that it prints with --services FOLDER, or give --psp-url; Locust's page has both"
        )
        raise UsageError(message)
    hosts = [name.strip() for name in options.allow_host.split(",")]
    for option, url in (
        ("--psp-url", options.psp_url),
        ("--sms-url", options.sms_url),
        ("--portal-url", options.portal_url),
    ):
        if url:
            address.check(url, hosts, option)
    scenario = scenario_file.load(options.scenario)
    targets = Targets(options.psp_url, options.sms_url, options.portal_url)
    return scenario, options.plan_seed or scenario.seed, targets, "", None


def _served(folder: Path) -> World:
    try:
        told = json.loads((folder / "services.json").read_text("utf-8"))
        token = json.loads((folder / "secrets.json").read_text("utf-8"))["token"]
        scenario = msgspec.convert(told["scenario"], Scenario)
        urls = {name: f"http://127.0.0.1:{port}" for name, port in told["ports"].items()}
        seed = int(told["seed"])
        ahead_us = int(told["plan_origin_us"]) - int(told["epoch_monotonic_us"])
    except (OSError, ValueError, KeyError):
        message = (
            f"--services {str(folder)!r}: is not a folder that `fewseconds serve` has made; name "
            "the one that it prints when it starts"
        )
        raise UsageError(message) from None
    targets = Targets(urls.get("psp", ""), urls.get("sms", ""), urls.get("portal", ""))
    services = Services(outcomes=str(folder.resolve() / "outcomes"), ahead_us=ahead_us)
    return scenario, seed, targets, token, services


def picked(whole: Plan, parts: tuple[Part, ...]) -> Plan:
    """The rows that any of the parts stands for, in the plan's order."""
    mask = np.zeros(len(whole), bool)
    kinds, apps = (
        np.array(whole.table[name].to_pylist(), dtype=object) for name in ("kind", "app")
    )
    for part in parts:
        here = np.ones(len(whole), bool)
        if part.kinds:
            here &= np.isin(kinds, _known(whole.scenario, part.kinds))
        if part.app:
            here &= apps == part.app
        mask |= here
    return Plan(whole.scenario, whole.seed, whole.table.filter(pa.array(mask)))


def _known(scenario: Scenario, kinds: tuple[str, ...]) -> list[str]:
    return [kind for kind in kinds if kind in scenario.journeys]


def doubled(rows: Plan) -> Plan:
    """Every journey twice: a second phone scans the same bill a moment later, from another app."""
    table = rows.table
    first = int(np.max(table["journey_id"].to_numpy(), initial=-1)) + 1
    again = table.set_column(
        table.schema.get_field_index("journey_id"), "journey_id",
        pa.array(first + np.arange(len(rows)), pa.int64()),
    )  # fmt: skip
    again = again.set_column(
        table.schema.get_field_index("intended_start_us"), "intended_start_us",
        pa.array(rows.starts_us + GAP_US, pa.int64()),
    )  # fmt: skip
    both = pa.concat_tables([table, again]).unify_dictionaries()
    return Plan(rows.scenario, rows.seed, both.sort_by("intended_start_us"))


def squeezed(rows: Plan, from_us: int) -> Plan:
    """The same journeys within a fifth of the time."""
    starts = from_us + (rows.starts_us - from_us) // STORM_SQUEEZE
    place = rows.table.schema.get_field_index("intended_start_us")
    column = pa.array(starts, pa.int64())
    table = rows.table.set_column(place, "intended_start_us", column)
    return Plan(rows.scenario, rows.seed, table)
