"""The traits of journeys in whole numbers, packed into one: what a leg looks up its draws by.

A leg's draws depend on few traits (a camera's on medium and scanner, a bank's on the account), so
each set of traits that any leg asks for has some bits of its own.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from fewseconds.errors import UsageError
from fewseconds.payer_app import CAPPED, WALLET
from fewseconds.plan import Codes, Traits, names
from fewseconds.scenario import SCANNERS, TRAITS, Scenario
from fixtures import funding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Codings = NDArray[np.int64]

SIGNATURES: Final = ("", "verifies", "ignores")
BITS_MAX: Final = 62


class Group:
    """A set of traits that some legs depend on, and its bits."""

    def __init__(self, words: dict[str, Sequence[str]], by: tuple[str, ...], shift: int) -> None:
        """``words`` are the values that each trait may have."""
        self._words, self.by, self.shift = words, by, shift
        self.count = int(np.prod([len(words[trait]) for trait in by], dtype=np.int64))
        self.bits = (self.count - 1).bit_length()
        self.mask = (1 << self.bits) - 1

    def traits(self) -> Iterator[Traits]:
        """All values of these traits, in the order of their numbers; the others are empty."""
        blank = dict.fromkeys(TRAITS, "")
        for combo in product(*(self._words[trait] for trait in self.by)):
            yield Traits(**blank | dict(zip(self.by, combo, strict=True)))

    def numbers(self, codes: dict[str, Codings], count: int) -> Codings:
        """The number of each journey's values; shape ``(journeys,)``."""
        total = np.zeros(count, np.int64)
        for trait in self.by:
            total = total * len(self._words[trait]) + codes[trait]
        return total


class Cohort:
    """The groups of traits that the legs of a scenario depend on."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Begin without any."""
        self._scenario, self._seed = scenario, seed
        banks = tuple(scenario.banks)
        self._words: dict[str, Sequence[str]] = {
            **names(scenario),
            "scanner": SCANNERS,
            "signature": SIGNATURES,
            "account": (*banks, WALLET),
            "gallery": ("", CAPPED),
        }
        self._groups: dict[tuple[str, ...], Group] = {}
        self._bits = 0

    def group(self, by: tuple[str, ...]) -> Group:
        """The group of the traits ``by``; raises UsageError when there are too many of them."""
        found = self._groups.get(by)
        if found is None:
            found = self._groups[by] = Group(self._words, by, self._bits)
            self._bits += found.bits
            if self._bits > BITS_MAX:
                told = ", ".join("/".join(one) for one in self._groups if one)
                message = f"stations: 'by' asks for too many traits ({told}); leave some out"
                raise UsageError(message)
        return found

    def packed(self, view: Codes) -> Codings:
        """The traits of each journey of a plan; shape ``(journeys,)``."""
        count = len(view.journey_id)
        codes = self._codes(view, {trait for by in self._groups for trait in by})
        total = np.zeros(count, np.int64)
        for group in self._groups.values():
            total |= group.numbers(codes, count) << group.shift
        return total

    def _codes(self, view: Codes, wanted: set[str]) -> dict[str, Codings]:
        """Each wanted trait of each journey as its position among the trait's values."""
        apps = list(self._scenario.apps.values())
        found: dict[str, Codings] = {}
        for trait in wanted:
            if trait == "scanner":
                of_app = np.array([SCANNERS.index(app.scanner) for app in apps], np.int64)
                found[trait] = of_app[view.app]
            elif trait == "signature":
                of_app = np.array([SIGNATURES.index(app.signature) for app in apps], np.int64)
                found[trait] = np.where(view.medium > 0, of_app[view.app], 0)
            elif trait == "account":
                wallet = funding.from_wallet(self._scenario, self._seed, view)
                found[trait] = np.where(wallet, len(self._scenario.banks), view.bank)
            elif trait == "gallery":
                above = funding.above_gallery_cap(self._scenario, self._seed, view)
                found[trait] = above.astype(np.int64)
            else:
                found[trait] = getattr(view, trait).astype(np.int64)
        return found
