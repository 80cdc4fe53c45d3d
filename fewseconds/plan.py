"""What will be attempted: one row per journey, a pure function of (scenario, seed).

Who pays and when is decided in :mod:`fewseconds.arrivals`; here each payment gets its way. Every
trait is a draw of its own that belongs to the consumer, so :func:`chunks` can make the plan of a
country in pieces, and the pieces are the rows that :func:`plan` makes at once.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fewseconds import chance, columns
from fewseconds.arrivals import DAY_US, HOUR_US, SECOND_US, Arrivals, Payments
from fewseconds.errors import UsageError
from fewseconds.scenario import MEDIA
from fewseconds.ways import draws, kinds_of, picked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.scenario import Scenario

__all__ = [
    "DAY_US", "HOUR_US", "SCHEMA", "SECOND_US", "Codes",
    "Plan", "Row", "Traits", "chunks", "names", "plan", "traits",
]  # fmt: skip

_WORD: Final = pa.dictionary(pa.int16(), pa.string())
SCHEMA: Final = pa.schema(
    [
        ("journey_id", pa.int64()),
        ("consumer", pa.int64()),
        ("bill", pa.int64()),
        ("kind", _WORD),
        ("app", _WORD),
        ("bank", _WORD),
        ("medium", _WORD),
        ("intended_start_us", pa.int64()),
    ]
)
ROWS_MAX: Final = 100_000_000
"""Longest plan that is made at once: 4 GB. More is made in chunks."""
STRETCH_ROWS: Final = 200_000
"""Rows that :func:`chunks` sorts at a time."""
CHUNK_ROWS: Final = 100_000
_OPERATOR: Final = chance.stream("plan", "operator")


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


class Codes(msgspec.Struct, frozen=True):
    """A plan in whole numbers, for engines: words are codes of :func:`names`."""

    journey_id: NDArray[np.int64]
    consumer: NDArray[np.int64]
    bill: NDArray[np.int64]
    kind: NDArray[np.int16]
    app: NDArray[np.int16]
    bank: NDArray[np.int16]
    medium: NDArray[np.int16]
    operator: NDArray[np.int16]
    intended_start_us: NDArray[np.int64]


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
        starts: NDArray[np.int64] = columns.values(self.table["intended_start_us"])
        return starts

    def rows(self) -> Iterator[Row]:
        """The journeys, in order."""
        for first in range(0, len(self), 4096):
            some = self.table.slice(first, 4096).select(SCHEMA.names).columns
            yield from map(Row, *(column.to_pylist() for column in some))

    def window(self, from_us: int, until_us: int) -> Plan:
        """The journeys whose intended start lies in ``[from_us, until_us)``."""
        first, last = np.searchsorted(self.starts_us, [from_us, until_us])
        return Plan(self.scenario, self.seed, self.table.slice(first, last - first))

    def share(self, worker: int, workers: int) -> Plan:
        """The rows that worker ``worker`` of ``workers`` plays: ``rows[worker::workers]``."""
        taken = self.table.take(np.arange(worker, len(self), workers))
        return Plan(self.scenario, self.seed, taken)

    def real_time(self) -> Plan:
        """Only the journeys that can be played against real services.

        Some kinds cannot, nor can the payment of an older bill: services know one a consumer.
        """
        kinds = [table.real_time for table in self.scenario.journeys.values()]
        mask = np.array(kinds, bool)[self.codes("kind")]
        mask &= self.table["bill"].to_numpy() < self.scenario.consumers
        return Plan(self.scenario, self.seed, self.table.filter(pa.array(mask)))

    def of_kinds(self, kinds: frozenset[str]) -> Plan:
        """Only the journeys of these kinds."""
        mask = np.array([kind in kinds for kind in self.scenario.journeys], bool)
        rows = self.table.filter(pa.array(mask[self.codes("kind")]))
        return Plan(self.scenario, self.seed, rows)

    def digital(self) -> Plan:
        """Only the journeys of those who pay digitally; all of them if nobody does."""
        kinds = {kind for kind, channel in self.scenario.channels.items() if channel.digital}
        found = self.of_kinds(frozenset(kinds))
        return found if len(found) else self

    def as_kind(self, kind: str) -> Plan:
        """The same consumers at the same moments, all on journeys of ``kind``."""
        column = self.table.schema.get_field_index("kind")
        known = names(self.scenario)["kind"]
        kinds = columns.words(np.full(len(self), known.index(kind), np.int16), known)
        return Plan(self.scenario, self.seed, self.table.set_column(column, "kind", kinds))

    def codes(self, column: str) -> NDArray[np.int16]:
        """A column of words (or ``operator``) as positions in :func:`names` of it."""
        known = names(self.scenario)[column]
        if column == "operator":
            shares = list(self.scenario.operators.values())
            consumers = columns.values(self.table["consumer"])
            return picked(shares, draws(self.seed, "operator", consumers))
        words = self.table[column].combine_chunks()
        if not pa.types.is_dictionary(words.type):
            words = words.dictionary_encode()
        places = columns.values(pa.chunked_array([words.indices]))
        if (written := words.dictionary.to_pylist()) != list(known):
            places = np.array([known.index(word) for word in written], np.int16)[places]
        coded: NDArray[np.int16] = places.astype(np.int16, copy=False)
        return coded

    def view(self) -> Codes:
        """The plan as columns of whole numbers, for engines; no strings are made."""
        return Codes(
            journey_id=columns.values(self.table["journey_id"]),
            consumer=columns.values(self.table["consumer"]),
            bill=columns.values(self.table["bill"]),
            kind=self.codes("kind"),
            app=self.codes("app"),
            bank=self.codes("bank"),
            medium=self.codes("medium"),
            operator=self.codes("operator"),
            intended_start_us=self.starts_us,
        )

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
                total.update(b"\x1f".join(_joined(column)))
        return total.hexdigest()

    def around(self, window_us: tuple[int, int], journeys_max: int) -> Plan:
        """The rows to walk around a window: its own, most of the rest before it, some after."""
        first, last = (int(row) for row in self.starts_us.searchsorted(window_us))
        count = max(journeys_max, last - first)
        begin = max(first - (count - (last - first)) * 2 // 3, 0)
        return Plan(self.scenario, self.seed, self.table.slice(begin, count))

    def busiest_window(self) -> tuple[int, int]:
        """``(from_us, until_us)`` of the stretch that a load test of this scenario plays.

        The day is the busiest of the month or the one with the median number of payments; within
        it, the stretch of ``load.duration_s`` with the most journeys, on a grid of a tenth of it.
        Only digital ones are counted: a rush at the counters is no load for anything but clerks.
        """
        load = self.scenario.load
        starts = self.digital().starts_us
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

    Raises UsageError if nobody pays, if a billing cycle leaves no day to pay on, or if the plan is
    longer than :data:`ROWS_MAX`.
    """
    seed = scenario.seed if seed is None else seed
    arrivals = Arrivals(scenario, seed)
    if arrivals.count > ROWS_MAX:
        message = (
            f"{scenario.name}: a plan of {arrivals.count} payments does not fit into memory; "
            "simulate it as a stream or lower 'consumers'"
        )
        raise UsageError(message)
    return _with_ways(scenario, seed, arrivals.payments())


def chunks(
    scenario: Scenario,
    seed: int | None = None,
    rows_max: int = CHUNK_ROWS,
    stretch_rows: int = STRETCH_ROWS,
) -> Iterator[Plan]:
    """The rows of :func:`plan`, in order, in plans of at most ``rows_max`` rows.

    Memory depends on ``stretch_rows`` alone, not on the population; more rows than that are sorted
    in a temporary file (:meth:`fewseconds.arrivals.Arrivals.stretches`). Raises UsageError as
    :func:`plan` does, and OSError if the file cannot be written.
    """
    seed = scenario.seed if seed is None else seed
    for found in Arrivals(scenario, seed).stretches(stretch_rows):
        for first in range(0, len(found), rows_max):
            yield _with_ways(scenario, seed, found[first : first + rows_max])


def names(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    """The words that each column of words may hold, in the order of their codes."""
    return {
        "kind": tuple(scenario.journeys),
        "app": tuple(scenario.apps),
        "bank": tuple(scenario.banks),
        "medium": ("", *MEDIA),
        "operator": tuple(scenario.operators),
    }


def _with_ways(scenario: Scenario, seed: int, paid: Payments) -> Plan:
    """Give payments their channel, app, bank and medium, which belong to the consumer."""
    known = names(scenario)
    consumers = paid.journeys % scenario.consumers
    kinds = kinds_of(scenario, seed, consumers) if paid.kinds is None else paid.kinds
    coded = {
        "kind": kinds,
        "app": picked([a.share for a in scenario.apps.values()], draws(seed, "app", consumers)),
        "bank": picked(list(scenario.banks.values()), draws(seed, "bank", consumers)),
        "medium": _media(scenario, kinds, draws(seed, "medium", consumers)),
    }
    table = {
        "journey_id": columns.numbers(paid.journeys),
        "consumer": columns.numbers(consumers),
        "bill": columns.numbers(paid.journeys),
        **{name: columns.words(codes, known[name]) for name, codes in coded.items()},
        "intended_start_us": columns.numbers(paid.starts_us),
    }
    return Plan(scenario, seed, pa.table(table, schema=SCHEMA))


def _joined(column: pa.Array) -> Iterator[bytes]:
    """The texts of a column with a separator between them, many rows at a time."""
    import pyarrow.compute as pc  # noqa: PLC0415 - a tenth of a second that no engine needs

    texts = column.cast(pa.string())
    for first in range(0, len(texts), CHUNK_ROWS):
        part = texts.slice(first, CHUNK_ROWS)
        whole = pa.ListArray.from_arrays([0, len(part)], part)
        yield pc.binary_join(whole, "\x1f")[0].as_buffer().to_pybytes()


def _media(
    scenario: Scenario, kinds: NDArray[np.int16], luck: NDArray[np.uint32]
) -> NDArray[np.int16]:
    known = names(scenario)
    media = np.zeros(len(kinds), np.int16)
    for kind, channel in scenario.channels.items():
        if channel.media:
            codes = np.array([known["medium"].index(medium) for medium in channel.media], np.int16)
            mine = np.flatnonzero(kinds == known["kind"].index(kind))
            media[mine] = codes[picked(list(channel.media.values()), luck[mine])]
    return media


class Traits(msgspec.Struct, frozen=True):
    """What may tell one journey's visit to a station from another's."""

    app: str
    bank: str
    medium: str
    scanner: str
    operator: str
    signature: str = ""
    """What the app does about signatures, if there is a code to scan."""
    account: str = ""
    """Where the money comes from: the bank, or ``wallet``."""
    gallery: str = ""
    """``capped`` if the bill is too dear for a code out of the gallery."""

    def key(self, by: tuple[str, ...]) -> str:
        """The name of the variant chosen by the traits ``by``."""
        return "/".join(self.values(by))

    def values(self, by: tuple[str, ...]) -> tuple[str, ...]:
        """The values of the traits ``by``."""
        return tuple(getattr(self, trait) for trait in by)


@lru_cache(maxsize=16)
def _operators(shares: tuple[tuple[str, float], ...]) -> tuple[list[str], list[int]]:
    names, weights = zip(*shares, strict=True)
    return list(names), chance.cumulative(weights)


def traits(scenario: Scenario, seed: int, row: Row) -> Traits:
    """The traits of a journey: those of its row, its app's, and its phone's operator."""
    luck = chance.uniform(seed, _OPERATOR, row.consumer, 1)
    names, edges = _operators(tuple(scenario.operators.items()))
    operator = names[chance.pick(edges, luck)]
    scanner = scenario.apps[row.app].scanner
    return traits_of(scenario, row.app, row.bank, row.medium, scanner, operator)


def traits_of(
    scenario: Scenario, app: str, bank: str, medium: str, scanner: str, operator: str
) -> Traits:
    """The traits of whoever is known by these, paying from a bank account."""
    known = scenario.apps.get(app)
    signature = known.signature if known is not None and medium else ""
    return Traits(app, bank, medium, scanner, operator, signature, bank)
