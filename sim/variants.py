"""Variants of a scenario: keys that vary, the values they take, and the scenarios these make.

A key is a path through the scenario's tables: ``stations.biller.servers``, ``adoption.share``,
``stations.remitter_bank.service_time.median_ms``. The last part of the path may also be ``scale``
on a law: all its durations are stretched together (the key ends in ``service_time.scale``).
"""

from __future__ import annotations

import itertools
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds import scenario_file
from fewseconds.errors import ScenarioError, UsageError
from fewseconds.law import PARAMETERS
from fewseconds.spelling import closest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario

Value = int | float | str | bool
RANGE: Final = re.compile(r"(?P<low>[^.]\S*?|\.\d+)\.\.(?P<high>[^:]+)(?::(?P<step>.+))?")
VARIANTS_MAX: Final = 10_000
SCALE: Final = "scale"
DURATIONS: Final = sorted({p for names in PARAMETERS.values() for p in names if p.endswith("_ms")})


class Vary(msgspec.Struct, frozen=True):
    """A key and what it takes: a list of values, or a range that a design draws from."""

    key: str
    values: tuple[Value, ...]
    low: float | None = None
    high: float | None = None
    whole: bool = False
    """Only whole numbers make sense."""


def parse(text: str, scenario: Scenario, *, continuous: bool = False) -> Vary:
    """Read ``KEY=2..16``, ``KEY=1..2:0.25`` or ``KEY=a,b,c``; ``continuous`` wants a range.

    Raises UsageError if there is no such key (with a suggestion), or if its values cannot be.
    """
    key, equals, values = text.partition("=")
    if not equals or not values:
        message = f"--vary {text!r}: no values; write KEY=2..16, KEY=1..2:0.25 or KEY=a,b,c"
        raise UsageError(message)
    _, present = locate(scenario, key)
    found = RANGE.fullmatch(values)
    if found is None:
        if continuous:
            message = f"--vary {text!r}: a design draws from a range; write KEY=low..high"
            raise UsageError(message)
        return Vary(key, tuple(_value(part, present, text) for part in values.split(",")))
    low, high = (_number(found[end], text) for end in ("low", "high"))
    if not low < high:
        message = f"--vary {text!r}: {found['low']} is not below {found['high']}; swap them"
        raise UsageError(message)
    whole = isinstance(present, int) and not isinstance(present, bool)
    if continuous:
        return Vary(key, (), float(low), float(high), whole)
    step = _number(found["step"], text) if found["step"] else Decimal(1)
    if not found["step"] and not (low == int(low) and high == int(high)):
        message = f"--vary {text!r}: no step between broken numbers; write KEY=low..high:step"
        raise UsageError(message)
    if step <= 0 or (high - low) / step > VARIANTS_MAX:
        message = f"--vary {text!r}: a step of {step} makes too many values; write a larger one"
        raise UsageError(message)
    count = int((high - low) / step) + 1
    return Vary(key, tuple(_value(str(low + n * step), present, text) for n in range(count)))


def locate(scenario: Scenario, key: str) -> tuple[list[str], Any]:
    """The tables on the way to ``key`` with its own name, and what the scenario has there.

    Raises UsageError with a suggestion if it has no such key.
    """
    place: Any = msgspec.to_builtins(scenario)
    path: list[str] = []
    parts = key.split(".")
    while parts:
        # The names of variants and codes may hold dots of their own: the longest one that fits.
        fitting = [n for n in range(len(parts), 0, -1) if _has(place, ".".join(parts[:n]))]
        if not fitting:
            if parts == [SCALE] and isinstance(place, dict) and "law" in place:
                return [*path, SCALE], 1.0
            message = f"--vary {key}: unknown key {parts[0]!r}{_among(path, parts[0], place)}"
            raise UsageError(message)
        path.append(".".join(parts[: fitting[0]]))
        place, parts = place[path[-1]], parts[fitting[0] :]
    if isinstance(place, dict | list | tuple):
        known = ", ".join(map(repr, place)) if isinstance(place, dict) else ""
        hint = f"go on with one of {known}" if known else "choose a key with one value"
        message = f"--vary {key}: is a table or a list, not a value; {hint}"
        raise UsageError(message)
    return path, place


def _among(path: list[str], word: str, place: Any) -> str:  # noqa: ANN401
    known = list(place) if isinstance(place, dict) else []
    if "law" in known:
        known = [*PARAMETERS[place["law"]], "max_ms", SCALE]
    return (f" in {'.'.join(path)!r}" if path else "") + f"; {closest(word, known)}"


def _has(place: Any, name: str) -> bool:  # noqa: ANN401
    return isinstance(place, dict) and name in place


def _number(text: str, whole_text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        message = f"--vary {whole_text!r}: {text!r} is not a number; write KEY=2..16"
        raise UsageError(message) from None


def _value(text: str, present: Any, whole_text: str) -> Value:  # noqa: ANN401
    """A value of the kind that is there now."""
    if isinstance(present, bool):
        if text not in ("true", "false"):
            message = f"--vary {whole_text!r}: {text!r} is not true or false; write one of them"
            raise UsageError(message)
        return text == "true"
    if isinstance(present, str):
        return text
    number = _number(text, whole_text)
    if isinstance(present, int) and number != int(number):
        message = f"--vary {whole_text!r}: {text!r} is not a whole number; write whole numbers"
        raise UsageError(message)
    return int(number) if isinstance(present, int) or number == int(number) else float(number)


def overrides(scenario: Scenario, values: Mapping[str, Value]) -> dict[str, Any]:
    """The tables to lay over ``scenario`` so that every key has its value."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        (*path, last), _ = locate(scenario, key)
        place = tree
        for name in path:
            place = place.setdefault(name, {})
        if last == SCALE:
            law = msgspec.to_builtins(scenario)
            for name in path:
                law = law[name]
            place.update(scaled(law, float(value)))
        else:
            place[last] = value
    return tree


def scaled(law: dict[str, Any], factor: float) -> dict[str, Any]:
    """A law with all its durations ``factor`` times as long, its cut as well."""
    found = {k: v for k, v in law.items() if v is not None}
    for name in (*DURATIONS, "max_ms"):
        if name in found:
            found[name] = found[name] * factor
    if "points" in found:
        found["points"] = [[p, ms * factor] for p, ms in found["points"]]
    return found


def variant(name: str, values: Mapping[str, Value], base: Scenario | None = None) -> Scenario:
    """The scenario called ``name`` with these values; ``base`` is the same one, already read.

    Raises ScenarioError, with the values in front of every problem they make.
    """
    base = scenario_file.load(name) if base is None else base
    try:
        return scenario_file.load(name, overrides(base, values))
    except ScenarioError as error:
        text = ", ".join(f"{key}={value}" for key, value in values.items())
        raise ScenarioError([f"--vary {text}: {line}" for line in error.problems]) from None


def grid(varied: Sequence[Vary]) -> list[dict[str, Value]]:
    """Every combination of the values, the last key the fastest. Raises UsageError if too many."""
    count = math.prod(len(vary.values) for vary in varied)
    if count > VARIANTS_MAX:
        message = f"--vary: {count} combinations are too many; take larger steps or --sobol"
        raise UsageError(message)
    keys = [vary.key for vary in varied]
    return [
        dict(zip(keys, values, strict=True))
        for values in itertools.product(*(vary.values for vary in varied))
    ]


def drawn(varied: Sequence[Vary], points: NDArray[np.float64]) -> list[dict[str, Value]]:
    """The combinations of a design: one row a combination, one column a key."""
    return [
        {
            vary.key: round(float(x)) if vary.whole else float(x)
            for vary, x in zip(varied, row, strict=True)
        }
        for row in points
    ]
