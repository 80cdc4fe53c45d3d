"""Does anything that a run has written for others to read hold a secret or personal data?

Looked at are logs, reports and records of a run's folder; not its private files (mode 0600), which
hold what they hold on purpose, nor the ledger, which is the biller's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mock_psp.spec import Secrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ: Final = frozenset({".log", ".json", ".jsonl", ".html", ".md", ".xml", ".csv", ".txt"})
PRIVATE: Final = 0o077
"""A file that gives none of these to others is private."""
PHONE: Final = re.compile(rb"\+91[0-9]{10}(?![0-9])")
PAYER: Final = re.compile(rb"payer[0-9]+@[a-z]+")
SECRET_BYTES_MIN: Final = 8


def leaks(root: Path) -> Iterator[tuple[str, int, str]]:
    """File, line and what is there; the thing itself is not repeated."""
    secrets = list(_secrets(root / "secrets.json"))
    for path in sorted(_public(root)):
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                for what in _found(line, secrets):
                    yield str(path.relative_to(root)), number, what


def looked_at(root: Path) -> int:
    """How many files are looked at."""
    return sum(1 for _ in _public(root))


def _public(root: Path) -> Iterator[Path]:
    """The files that are for others to read."""
    for path in root.rglob("*"):
        if path.suffix not in READ or not path.is_file():
            continue
        if path.suffix == ".log" or path.stat().st_mode & PRIVATE:
            yield path


def _found(line: bytes, secrets: list[tuple[str, bytes]]) -> Iterator[str]:
    if PHONE.search(line):
        yield "a phone number"
    if PAYER.search(line):
        yield "a payer's address"
    for name, secret in secrets:
        if secret in line:
            yield f"the secret {name!r}"


def _secrets(path: Path) -> Iterator[tuple[str, bytes]]:
    if not path.exists():
        return
    told: dict[str, Any] = msgspec.to_builtins(msgspec.json.decode(path.read_bytes(), type=Secrets))
    for name, value in told.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            # The name of a key is public; so is what is too short to be a secret.
            if name != "merchant_key_id" and len(one) >= SECRET_BYTES_MIN:
                yield name, str(one).encode()
