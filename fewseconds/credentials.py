"""Headers and credentials for services that are not ours, read from a file and never shown.

The file is TOML with a table of header lines a party, which nobody but its owner should read:

    [psp]
    authorization = "Bearer …"

or the ``secrets.json`` that ``fewseconds serve`` has left.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from fewseconds.concealed import HIDDEN, PUBLIC
from fewseconds.contracts import TOKEN_HEADER
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PARTIES: Final = ("psp", "sms", "bbps", "reset")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")

Headers = dict[str, dict[str, str]]


def read(path: Path) -> Headers:
    """Header lines by party; raises UsageError, which never repeats what the file holds."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text; write TOML with a table a party") from None
    told = _of_serve(path, text) if text.lstrip().startswith("{") else _of_toml(path, text)
    problems = [
        f"{path}: [{party}] is none of {', '.join(PARTIES)}"
        for party in told
        if party not in PARTIES
    ]
    for party, headers in told.items():
        if not isinstance(headers, dict):
            problems.append(f"{path}: {party}: is no table; write [{party}] and header = value")
            continue
        problems += [
            f"{path}: [{party}] {str(name)[:40]!r}: is no header with a value of printable ASCII"
            for name, value in headers.items()
            if not (_NAME.fullmatch(name) and isinstance(value, str) and _VALUE.fullmatch(value))
        ]
    if problems:
        raise UsageError("\n".join(problems))
    return told


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    """Header lines as they may be shown: values that could be secret are not."""
    return {name: value if name.lower() in PUBLIC else HIDDEN for name, value in headers.items()}


def _of_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser quotes nothing of the text, only where it stopped.
        raise UsageError(f"{path}: is not TOML: {error}") from None


def _of_serve(path: Path, text: str) -> Headers:
    try:
        told = json.loads(text)
        bearer = f"Bearer {told['bbps_token']}"
        return {"sms": {TOKEN_HEADER: told["token"]}, "bbps": {"authorization": bearer}}
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: is not the secrets.json of `fewseconds serve`") from None
