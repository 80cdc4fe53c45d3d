"""What will be attempted: one row per journey, a pure function of (scenario, seed).

Payments are staggered the way bills are: each payer has a billing cycle, pays its one bill some
days after it was issued, on a weekday and at an hour that people favour. The number of payers is
fixed (the ones with the smallest draws), and each moment comes from the inverse of the cumulative
intensity, so no draw depends on any other.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fewseconds import chance
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fewseconds.scenario import Arrivals, Scenario

SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
HOUR_US: Final = 3_600 * SECOND_US

SCHEMA: Final = pa.schema(
    [
        ("journey_id", pa.int64()),
        ("consumer", pa.int64()),
        ("bill", pa.int64()),
        ("kind", pa.string()),
        ("app", pa.string()),
        ("bank", pa.string()),
        ("medium", pa.string()),
        ("intended_start_us", pa.int64()),
    ]
)


class Row(msgspec.Struct, frozen=True):
    """One journey that will be attempted."""

    journey_id: int
    consumer: int
    bill: int
    kind: str
    app: str
    bank: str
    medium: str
    """Empty for journeys without a QR."""
    intended_start_us: int
    """Microseconds since the first midnight (IST) of the month."""


class Plan:
    """An ordered table of journeys with what it was made from."""

    def __init__(self, scenario: Scenario, seed: int, table: pa.Table) -> None:
        """Wrap a table of :data:`SCHEMA`, ordered by intended start and journey."""
        self.scenario = scenario
        self.seed = seed
        self.table = table

    def __len__(self) -> int:
        """Return the number of journeys."""
        return int(self.table.num_rows)

    @property
    def starts_us(self) -> NDArray[np.int64]:
        """Intended starts, ascending."""
        starts: NDArray[np.int64] = self.table["intended_start_us"].to_numpy()
        return starts

    def rows(self) -> Iterator[Row]:
        """The journeys, in order."""
        for batch in self.table.to_batches(max_chunksize=4096):
            yield from (Row(**row) for row in batch.to_pylist())

    def window(self, from_us: int, until_us: int) -> Plan:
        """The journeys whose intended start lies in ``[from_us, until_us)``."""
        first, last = np.searchsorted(self.starts_us, [from_us, until_us])
        return Plan(self.scenario, self.seed, self.table.slice(first, last - first))

    def share(self, worker: int, workers: int) -> Plan:
        """The rows that worker ``worker`` of ``workers`` plays: ``rows[worker::workers]``."""
        taken = self.table.take(np.arange(worker, len(self), workers))
        return Plan(self.scenario, self.seed, taken)

    def real_time(self) -> Plan:
        """Only the journeys that can be played against real services."""
        kinds = [kind for kind, table in self.scenario.journeys.items() if table.real_time]
        mask = pc.is_in(self.table["kind"], pa.array(kinds, pa.string()))
        return Plan(self.scenario, self.seed, self.table.filter(mask))

    def as_kind(self, kind: str) -> Plan:
        """The same consumers at the same moments, all on journeys of ``kind``."""
        column = self.table.schema.get_field_index("kind")
        kinds = pa.array([kind] * len(self), pa.string())
        return Plan(self.scenario, self.seed, self.table.set_column(column, "kind", kinds))

    @property
    def digest(self) -> str:
        """SHA-256 over the values of every column, independent of how they are stored."""
        total = hashlib.sha256()
        for name in SCHEMA.names:
            column = self.table[name].combine_chunks()
            total.update(name.encode())
            if pa.types.is_int64(column.type):
                total.update(column.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
            else:
                total.update("\x1f".join(column.to_pylist()).encode())
        return total.hexdigest()

    def busiest_window(self) -> tuple[int, int]:
        """``(from_us, until_us)`` of the stretch that a load test of this scenario plays.

        The day is the busiest of the month or the one with the median number of payments; within
        it, the stretch of ``load.duration_s`` with the most journeys, on a grid of a tenth of it.
        """
        load = self.scenario.load
        starts = self.starts_us
        days = self.scenario.arrivals.days
        counts = np.bincount(starts // DAY_US, minlength=days)[:days]
        by_count = np.argsort(counts, kind="stable")
        day = int(by_count[-1] if load.day == "busiest" else by_count[(days - 1) // 2])
        length_us = load.duration_s * SECOND_US
        step_us = max(length_us // 10, 1)
        grid = day * DAY_US + np.arange(0, max(DAY_US - length_us, 1), step_us, dtype=np.int64)
        inside = np.searchsorted(starts, grid + length_us) - np.searchsorted(starts, grid)
        from_us = int(grid[int(np.argmax(inside))])
        return from_us, from_us + length_us


def plan(scenario: Scenario, seed: int | None = None) -> Plan:
    """Make the plan of the whole month.

    Raises UsageError if nobody pays, or if a billing cycle leaves no day to pay on.
    """
    seed = scenario.seed if seed is None else seed
    everyone = np.arange(scenario.consumers, dtype=np.int64)
    payers = _payers(scenario, seed, everyone)
    starts_us = _starts_us(scenario.arrivals, seed, payers)
    order = np.lexsort((payers, starts_us))
    consumers = payers[order]

    def draws(name: str) -> NDArray[np.int64]:
        found: NDArray[np.int64] = chance.uniform(seed, chance.stream("plan", name), consumers, 1)
        return found

    def column(shares: dict[str, float], name: str) -> pa.Array:
        indices = chance.pick_array(chance.cumulative(list(shares.values())), draws(name))
        return pa.DictionaryArray.from_arrays(indices.astype(np.int32), list(shares)).cast(
            pa.string()
        )

    kinds = _kinds(scenario, draws("digital"), draws("kind"))
    columns: dict[str, Any] = {
        "journey_id": consumers,
        "consumer": consumers,
        "bill": consumers,
        "kind": kinds,
        "app": column({name: app.share for name, app in scenario.apps.items()}, "app"),
        "bank": column(scenario.banks, "bank"),
        "medium": _media(scenario, kinds, draws("medium")),
        "intended_start_us": starts_us[order],
    }
    return Plan(scenario, seed, pa.table(columns, schema=SCHEMA))


def _kinds(
    scenario: Scenario, luck: NDArray[np.int64], channel_luck: NDArray[np.int64]
) -> pa.Array:
    """Who pays digitally has a draw of its own: a change of that share moves nobody else."""
    digital = luck < chance.threshold(scenario.digital_share)
    kinds = np.full(len(luck), "", dtype=object)
    for side in (True, False):
        shares = {k: c.share for k, c in scenario.channels.items() if c.digital is side}
        mine = digital == side
        if mine.any():
            picked = chance.pick_array(chance.cumulative(list(shares.values())), channel_luck[mine])
            kinds[mine] = np.asarray(list(shares), object)[picked]
    return pa.array(kinds, pa.string())


def _payers(scenario: Scenario, seed: int, everyone: NDArray[np.int64]) -> NDArray[np.int64]:
    count = round(scenario.consumers * scenario.arrivals.payments_per_consumer_month)
    if count == 0:
        message = f"{scenario.name}: nobody of {scenario.consumers} consumers pays; raise the rate"
        raise UsageError(message)
    luck = chance.uniform(seed, chance.stream("plan", "pays"), everyone, 1)
    return np.argsort(luck, kind="stable")[:count]


def _starts_us(arrivals: Arrivals, seed: int, payers: NDArray[np.int64]) -> NDArray[np.int64]:
    cycle = chance.uniform(seed, chance.stream("plan", "cycle"), payers, 1) * arrivals.cycles >> 32
    day_luck = chance.uniform(seed, chance.stream("plan", "day"), payers, 1)
    day = np.empty(len(payers), np.int64)
    for number, edges in enumerate(_day_edges(arrivals)):
        mine = cycle == number
        day[mine] = chance.pick_array(edges, day_luck[mine])
    hour_luck = chance.uniform(seed, chance.stream("plan", "hour"), payers, 1)
    hour = chance.pick_array(chance.cumulative(arrivals.hours), hour_luck)
    moment = chance.uniform(seed, chance.stream("plan", "moment"), payers, 1)
    # 3.6e9 * 2**32 would overflow: the hour is split at 2**-20 of itself first.
    within_us: NDArray[np.int64] = ((moment >> 12) * HOUR_US >> 20) + (
        (moment & 0xFFF) * (HOUR_US >> 20) >> 12
    )
    return day * DAY_US + hour * HOUR_US + within_us


def _day_edges(arrivals: Arrivals) -> Iterator[list[int]]:
    """Cumulative thresholds of the day of payment, a billing cycle.

    The month is taken as one of many alike: what would fall past its end was billed a month
    earlier and falls at its beginning.
    """
    first_weekday = arrivals.first_day.weekday()
    for cycle in range(arrivals.cycles):
        billed = cycle * arrivals.days // arrivals.cycles
        weights = [0.0] * arrivals.days
        for offset, weight in enumerate(arrivals.days_after_bill):
            day = (billed + offset) % arrivals.days
            weights[day] += weight * arrivals.weekdays[(first_weekday + day) % 7]
        if not any(weights):
            message = (
                f"arrivals: bills of day {billed} are paid on days of weight 0 only; "
                "give one of their weekdays a weight above 0"
            )
            raise UsageError(message)
        yield chance.cumulative(weights)


def _media(scenario: Scenario, kinds: pa.Array, luck: NDArray[np.int64]) -> pa.Array:
    media = np.full(len(kinds), "", dtype=object)
    for kind, channel in scenario.channels.items():
        if channel.media:
            mine = pc.equal(kinds, kind).to_numpy(zero_copy_only=False)
            edges = chance.cumulative(list(channel.media.values()))
            media[mine] = np.asarray(list(channel.media), object)[
                chance.pick_array(edges, luck[mine])
            ]
    return pa.array(media, pa.string())


class Traits(msgspec.Struct, frozen=True):
    """What may tell one journey's visit to a station from another's."""

    app: str
    bank: str
    medium: str
    scanner: str
    operator: str

    def key(self, by: tuple[str, ...]) -> str:
        """The name of the variant chosen by the traits ``by``."""
        return "/".join(getattr(self, trait) for trait in by)


def traits(scenario: Scenario, seed: int, row: Row) -> Traits:
    """The traits of a journey: those of its row, its app's scanner and its phone's operator."""
    luck = chance.uniform(seed, chance.stream("plan", "operator"), row.consumer, 1)
    names = list(scenario.operators)
    operator = names[chance.pick(chance.cumulative(list(scenario.operators.values())), luck)]
    return Traits(row.app, row.bank, row.medium, scenario.apps[row.app].scanner, operator)
