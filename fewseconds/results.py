"""Where results go: a folder of its own for every run, and a link to the latest."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def new_folder(results: Path, name: str) -> Path:
    """Make ``results/<time>-<scenario>`` and point ``results/latest`` at it."""
    stamp = dt.datetime.now().astimezone().strftime("%Y%m%dT%H%M%S")
    folder = results / f"{stamp}-{name}"
    latest = results / "latest"
    if latest.is_dir() and not latest.is_symlink():
        message = f"{latest}: is a folder, not the link to the latest run; move it away"
        raise UsageError(message)
    try:
        number = 1
        while folder.exists():
            number += 1
            folder = results / f"{stamp}-{name}-{number}"
        folder.mkdir(parents=True)
        fresh = results / f".latest-{folder.name}"
        fresh.symlink_to(folder.name)
        fresh.replace(latest)
    except OSError as error:
        message = (
            f"{results}: cannot be written: {error.strerror}; choose another folder with --results"
        )
        raise UsageError(message) from None
    return folder
