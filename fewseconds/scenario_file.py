"""Reading scenario files: TOML, ``extends``, and every problem at once with its place."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import inspect

from fewseconds.errors import ScenarioError, UsageError
from fewseconds.scenario import Scenario
from fewseconds.scenario_checks import closest, problems

SHIPPED = Path(__file__).resolve().parent.parent / "fixtures" / "scenarios"


def shipped() -> list[str]:
    """Names of the scenarios that come with the product."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find(name: str) -> Path:
    """Path of a scenario given by name or by path; raises UsageError with a suggestion."""
    path = Path(name)
    if path.suffix == ".toml" or "/" in name:
        if path.is_file():
            return path
        message = (
            f"{name}: no such scenario file; give a path that exists or a name that is shipped"
        )
        raise UsageError(message)
    path = SHIPPED / f"{name}.toml"
    if not path.is_file():
        message = f"scenario {name!r}: not found; {closest(name, shipped())}"
        raise UsageError(message)
    return path


def load(name: str, overrides: dict[str, Any] | None = None) -> Scenario:
    """Read the scenario called ``name`` (or at that path) with everything it extends.

    ``overrides`` are merged last (tables key by key, anything else replaced).
    Raises ScenarioError with every problem, and UsageError if there is no such file.
    """
    path = find(name)
    tree = merged(_tree(path, ()), overrides or {})
    tree.setdefault("name", path.stem)
    found = _shape_problems(tree, inspect.type_info(Scenario), "")
    if found:
        raise ScenarioError([f"{path.name}: {line}" for line in found])
    scenario = msgspec.convert(tree, Scenario)
    found = problems(scenario)
    if found:
        raise ScenarioError([f"{path.name}: {line}" for line in found])
    return scenario


def merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``top`` laid over it: tables are merged key by key, the rest is replaced."""
    result = dict(base)
    for key, value in top.items():
        below = result.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        # A law is one thing: half of a lognormal and half of a constant make no sense together.
        if both and "law" not in value:
            result[key] = merged(below, value)  # type: ignore[arg-type]
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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path.name}: not valid TOML: {error}; mend it there"
        raise UsageError(message) from None
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}; check the path and its permissions"
        raise UsageError(message) from None
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        message = f'{path.name}: extends: {parent!r} is not a name; write extends = "mumbai"'
        raise UsageError(message)
    beside = path.parent / f"{parent}.toml"
    base = _tree(beside if beside.is_file() else find(parent), (*seen, path))
    base.pop("name", None)
    return merged(base, tree)


def _shape_problems(value: Any, kind: inspect.Type, place: str) -> list[str]:  # noqa: ANN401
    """Compare a tree read from TOML with a type; one line for every key that does not fit."""
    if isinstance(kind, inspect.UnionType):
        # The only unions of a scenario are "something or nothing", and TOML cannot write nothing.
        (kind,) = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
    if isinstance(kind, inspect.StructType):
        return _struct_problems(value, kind, place)
    if isinstance(kind, inspect.DictType) and isinstance(value, dict):
        return [
            line
            for key, item in value.items()
            for line in _shape_problems(item, kind.value_type, f"{place}.{key}".lstrip("."))
        ]
    if isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        return [
            line
            for index, item in enumerate(value)
            for line in _shape_problems(item, kind.item_type, f"{place}[{index}]")
        ]
    try:
        msgspec.convert(value, _python_type(kind))
    except msgspec.ValidationError as error:
        return [f"{place}: {value!r}: {str(error)[0].lower()}{str(error)[1:]}; mend the value"]
    return []


def _struct_problems(value: Any, kind: inspect.StructType, place: str) -> list[str]:  # noqa: ANN401
    if not isinstance(value, dict):
        return [f"{place or 'file'}: {value!r} is not a table; write [{place}] with its keys"]
    fields = {field.encode_name: field for field in kind.fields}
    prefix = f"{place}." if place else ""
    found = [
        f"{prefix}{key}: unknown key; {closest(key, fields)}" for key in value if key not in fields
    ]
    for key, field in fields.items():
        if key in value:
            found += _shape_problems(value[key], field.type, f"{prefix}{key}")
        elif field.required:
            found.append(f"{prefix}{key}: missing; add it")
    return found


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
    if isinstance(kind, inspect.TupleType):
        return tuple[tuple(_python_type(item) for item in kind.item_types)]  # type: ignore[misc]
    if isinstance(kind, inspect.VarTupleType):
        return tuple[_python_type(kind.item_type), ...]  # type: ignore[misc]
    if isinstance(kind, inspect.DictType):
        return dict[str, _python_type(kind.value_type)]  # type: ignore[misc]
    return Any
