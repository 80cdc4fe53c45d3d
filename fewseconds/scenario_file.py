"""Reading scenario files: TOML, ``extends``, and every problem at once with its place."""

from __future__ import annotations

import datetime as dt
import hashlib
import reprlib
import tomllib
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import inspect

from fewseconds import surfaces
from fewseconds.errors import ScenarioError, UsageError
from fewseconds.scenario import Scenario
from fewseconds.scenario_checks import problems
from fewseconds.spelling import closest, nearest

SHIPPED = Path(__file__).resolve().parent.parent / "fixtures" / "scenarios"
LARGEST: Final = 2**63 - 1
NEUTRAL: Final = "\0"
"""A text that no TOML file can hold."""


def shipped() -> list[str]:
    """Names of the scenarios that come with the product."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find(name: str) -> Path:
    """Path of a scenario given by name or by path; raises UsageError with a suggestion."""
    path = Path(name)
    if path.suffix == ".toml" or "/" in name:
        if _is_file(path):
            return path
        message = (
            f"{name}: no such scenario file; give a path that exists or a name that is shipped"
        )
        raise UsageError(message)
    path = SHIPPED / f"{name}.toml"
    if not _is_file(path):
        message = f"scenario {name!r}: not found; {closest(name, shipped())}"
        raise UsageError(message)
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # A name that no file can have: too long, or with a NUL.
        return False


def load(name: str, overrides: dict[str, Any] | None = None) -> Scenario:
    """Read the scenario called ``name`` (or at that path) with everything it extends.

    ``overrides`` are merged last (tables key by key, anything else replaced).
    Raises ScenarioError with every problem, and UsageError if there is no such file.
    """
    path = find(name)
    tree = merged(_tree(path, ()), overrides or {})
    tree.setdefault("name", path.stem)
    tree, unread = surfaces.expanded(tree, path.parent)
    fitting = _Fitting()
    scenario = msgspec.convert(fitting.value(tree, inspect.type_info(Scenario), ""), Scenario)
    found = (
        unread + fitting.lines + [line for line in problems(scenario) if not fitting.explains(line)]
    )
    if found:
        raise ScenarioError([f"{path.name}: {line}" for line in found])
    return _with_arrivals(scenario)


def _with_arrivals(scenario: Scenario) -> Scenario:
    """The scenario with the digest of its file of arrivals, if it has one."""
    arrivals = scenario.arrivals
    if not arrivals.file:
        return scenario
    try:
        sha256 = hashlib.sha256(Path(arrivals.file).read_bytes()).hexdigest()
    except OSError as error:
        message = (
            f"arrivals.from: {arrivals.file}: cannot be read: {error.strerror}; check the path"
        )
        raise UsageError(message) from None
    known = msgspec.structs.replace(arrivals, file_sha256=sha256)
    return msgspec.structs.replace(scenario, arrivals=known)


def merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``top`` laid over it: tables are merged key by key, the rest is replaced."""
    result = dict(base)
    for key, value in top.items():
        below = result.get(key)
        # A law is one thing: half of a lognormal and half of a constant make no sense together.
        if isinstance(value, dict) and isinstance(below, dict) and "law" not in value:
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def _tree(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in seen:
        chain = " → ".join(p.stem for p in (*seen, path))
        message = f"{path.name}: extends itself ({chain}); remove one 'extends'"
        raise UsageError(message)
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{path.name}: not valid TOML: {error}; mend it there"
        raise UsageError(message) from None
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}; check the path and its permissions"
        raise UsageError(message) from None
    real = tree.get("arrivals")
    if isinstance(real, dict) and isinstance(real.get("from"), str) and real["from"]:
        # What stands beside a scenario file is found wherever the command is given.
        real["from"] = str(path.parent / real["from"])
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        message = f'{path.name}: extends: {parent!r} is not a name; write extends = "mumbai"'
        raise UsageError(message)
    beside = path.parent / (parent if parent.endswith(".toml") else f"{parent}.toml")
    try:
        base = _tree(beside if _is_file(beside) else find(parent), (*seen, path))
    except UsageError as error:
        if seen or str(error).startswith(f"{path.name}: "):
            raise
        message = f"{path.name}: extends: {error}"
        raise UsageError(message) from None
    base.pop("name", None)
    return merged(base, tree)


class _Fitting:
    """Fits a tree read from TOML to a type, and keeps one line for every key that does not fit.

    What does not fit is replaced by something neutral, so that the rest can be examined as well.
    """

    def __init__(self) -> None:
        """Begin without problems."""
        self.lines: list[str] = []
        self.misfits: list[str] = []
        """Places that were replaced."""

    def misfit(self, place: str, what: str, kind: inspect.Type) -> Any:  # noqa: ANN401 - TOML
        """Note a problem; returns the replacement."""
        self.lines.append(f"{place}: {what}")
        # Another law needs other parameters, so nothing can be said about those beside it.
        self.misfits.append(place.removesuffix(".law"))
        return _neutral(kind)

    def value(self, value: Any, kind: inspect.Type, place: str) -> Any:  # noqa: ANN401 - TOML
        """``value`` if it fits ``kind``, else its replacement."""
        known = kind
        if isinstance(kind, inspect.UnionType):
            # The only unions are "something or nothing", and TOML cannot write nothing.
            (known,) = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        if isinstance(known, inspect.StructType):
            return self.table(value, known, place)
        if isinstance(known, inspect.DictType) and isinstance(value, dict):
            inside = f"{place}." if place else ""
            return {k: self.value(item, known.value_type, inside + k) for k, item in value.items()}
        if isinstance(known, inspect.VarTupleType) and isinstance(value, list):
            item_type = known.item_type
            return [self.value(item, item_type, f"{place}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
            return self.misfit(place, f"{value!r:.20} is out of range; write a number", kind)
        try:
            msgspec.convert(value, _python_type(known))
        except msgspec.ValidationError as error:
            what = f"{reprlib.repr(value)}: {str(error)[0].lower()}{str(error)[1:]}; mend the value"
            return self.misfit(place, what, kind)
        return value

    def table(self, value: Any, kind: inspect.StructType, place: str) -> Any:  # noqa: ANN401
        """``value`` as a table of ``kind``."""
        if not isinstance(value, dict):
            what = f"{reprlib.repr(value)} is not a table; write [{place}] with its keys"
            return self.misfit(place, what, kind)
        prefix = f"{place}." if place else ""
        fields = {field.encode_name: field for field in kind.fields}
        given = dict(value)
        for key in [key for key in value if key not in fields]:
            self.lines.append(f"{prefix}{key}: unknown key; {closest(key, fields)}")
            # Go on as if the key were written as it was probably meant.
            meant, item = (
                nearest(key, [name for name in fields if name not in given]),
                given.pop(key),
            )
            if meant:
                given[meant] = item
        result = {}
        for key, field in fields.items():
            if key in given:
                result[key] = self.value(given[key], field.type, f"{prefix}{key}")
                if key.endswith("source") and not str(result[key]).strip():
                    self.lines.append(f"{prefix}{key}: is empty; say where the numbers come from")
            elif field.required:
                result[key] = self.misfit(f"{prefix}{key}", "missing; add it", field.type)
        return result

    def explains(self, line: str) -> bool:
        """Whether a problem found in the replaced tree follows from a replacement."""
        if NEUTRAL in line or r"\x00" in line:
            return True
        place = line.partition(": ")[0].partition(" ")[0]
        return any(
            place == misfit
            or place.startswith((f"{misfit}.", f"{misfit}["))
            or misfit.startswith((f"{place}.", f"{place}["))
            or ("unknown event" in line and _makes_events(misfit))
            # Stations and steps are named everywhere.
            or misfit in ("stations", "steps", "journeys")
            for misfit in self.misfits
        )


def _makes_events(place: str) -> bool:
    """Whether the events of a journey depend on what stands at ``place``: a step or its legs."""
    top, _, rest = place.partition(".")
    step, _, key = rest.partition(".")
    return top == "steps" and (not step or not key or key.startswith("legs"))


def _neutral(kind: inspect.Type) -> Any:  # noqa: ANN401
    """Something of type ``kind`` that is unlikely to be wrong."""
    if isinstance(kind, inspect.UnionType):
        # A missing parameter of a law is noted where it is missing, a number would be compared.
        whole = any(isinstance(one, inspect.IntType) for one in kind.types)
        return 1 if whole else None
    if isinstance(kind, inspect.StructType):
        return {f.encode_name: _neutral(f.type) for f in kind.fields if f.required}
    if isinstance(kind, inspect.LiteralType):
        return kind.values[0]
    if isinstance(kind, inspect.VarTupleType):
        return [_neutral(kind.item_type)]
    neutral: dict[type, Any] = {
        inspect.IntType: 1, inspect.FloatType: 1.0, inspect.BoolType: False,
        inspect.StrType: NEUTRAL, inspect.DateType: dt.date(2000, 1, 1), inspect.DictType: {},
        inspect.DateTimeType: dt.datetime(2000, 1, 1, tzinfo=dt.UTC),
    }  # fmt: skip
    return neutral[type(kind)]


def _python_type(kind: inspect.Type) -> Any:  # noqa: ANN401
    """The annotation that ``kind`` was made from, as far as scenarios use them."""
    simple: dict[type, Any] = {
        inspect.IntType: int, inspect.FloatType: float, inspect.BoolType: bool,
        inspect.StrType: str,
    }  # fmt: skip
    if type(kind) in simple:
        return simple[type(kind)]
    if isinstance(kind, inspect.LiteralType):
        return Literal[kind.values]
    if isinstance(kind, inspect.DateType):
        return dt.date
    if isinstance(kind, inspect.DateTimeType):
        return dt.datetime
    if isinstance(kind, inspect.TupleType):
        return tuple[tuple(_python_type(item) for item in kind.item_types)]  # type: ignore[misc]
    if isinstance(kind, inspect.VarTupleType):
        return tuple[_python_type(kind.item_type), ...]  # type: ignore[misc]
    if isinstance(kind, inspect.DictType):
        return dict[str, _python_type(kind.value_type)]  # type: ignore[misc]
    return Any
