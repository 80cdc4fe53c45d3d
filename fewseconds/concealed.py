"""Command lines and addresses as they may be recorded: what looks like a secret in them is hidden.

Secrets belong into files (``--credentials``, or whatever a command reads). Who writes one into the
hook of the command line all the same does not find it again in the results, the log or the report.
Too much is hidden rather than too little: a command that is to be repeated has to be completed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

HIDDEN: Final = "(not shown)"
PUBLIC: Final = frozenset({"accept", "content-type", "user-agent"})
"""Headers whose value may be printed; every other value is taken for a secret."""
HOOK: Final = "--reset"
_NAME: Final = (
    r"[\w-]*(?:auth|cookie|credential|key|passw|passphrase|pwd|secret|session|token)[\w-]*"
)
_USER: Final = re.compile(r"([a-z][a-z0-9+.-]*://)[^/?#\s'\"]+@", re.IGNORECASE)
_QUERY: Final = re.compile(r"([?&][^=&#\s'\"]+=)[^&#\s'\"]+")
_HEADER: Final = re.compile(r"([\w-]+)(:\s+)[^'\"]+")
_ASSIGNED: Final = re.compile(
    rf"({_NAME}\s*[:=]\s*)(?!\(not shown\))('[^']*'|\"[^\"]*\"|[^\s'\"&]+)", re.IGNORECASE
)
_OPTION: Final = re.compile(
    rf"((?:^|\s)--?{_NAME}\s+)('[^']*'|\"[^\"]*\"|[^\s'\"]+)", re.IGNORECASE
)
_PAIR: Final = re.compile(r"((?:^|\s)(?:-u|--user)[\s=]*)['\"]?[^\s'\":]+:[^\s'\"]+")
_SCHEME: Final = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]+", re.IGNORECASE)


def concealed(text: str) -> str:
    """A command or an address without its secrets.

    Hidden are users and query values of addresses, header lines that not every client sends, values
    of variables and options that are called token, key, password and the like, ``-u NAME:WORD``,
    and what follows ``Bearer`` and ``Basic``.
    """
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _QUERY.sub(rf"\1{HIDDEN}", text)
    text = _HEADER.sub(_header, text)
    text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    text = _OPTION.sub(rf"\1{HIDDEN}", text)
    text = _PAIR.sub(rf"\1{HIDDEN}", text)
    return _SCHEME.sub(rf"\1 {HIDDEN}", text)


def recorded(words: Sequence[str]) -> list[str]:
    """The words of a command line of ours, with a hook that tells no secret."""
    found: list[str] = []
    for word in words:
        if found and found[-1] == HOOK:
            found.append(concealed(word))
        elif word.startswith(f"{HOOK}="):
            found.append(f"{HOOK}={concealed(word.removeprefix(f'{HOOK}='))}")
        else:
            # The address of a party may have a user in it, too.
            found.append(_USER.sub(rf"\1{HIDDEN}@", word))
    return found


def _header(line: re.Match[str]) -> str:
    name, between = line.groups()
    return line.group() if name.lower() in PUBLIC else f"{name}{between}{HIDDEN}"
