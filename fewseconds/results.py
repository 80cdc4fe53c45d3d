"""Where results go: a folder of its own for every run, and a link to the latest."""

from __future__ import annotations

import datetime as dt
import errno
import os
from typing import TYPE_CHECKING

from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def ready(
    results: Path | None = None,
    folders: Mapping[str, Path | None] = {},
    files: Mapping[str, Path | None] = {},
) -> None:
    """Refuse what could not be written in the end, before anything is computed for it.

    ``results`` gets folders of runs; ``folders`` and ``files`` are named by the options that name
    them, and None is not asked for. What is not there yet can be made, folders above it as well;
    nothing is made here. Raises UsageError.
    """
    if results is not None:
        _ready("--results", results, folder=True)
        _ready_for_link(results / "latest")
    for option, path in folders.items():
        if path is not None:
            _ready(option, path, folder=True)
    for option, path in files.items():
        if path is not None:
            _ready(option, path, folder=False)


def _ready(option: str, path: Path, *, folder: bool) -> None:
    there = path
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    trouble = 0
    if there.is_dir() and there == path and not folder:
        trouble = errno.EISDIR
    elif not there.is_dir() and (folder or there != path):
        trouble = errno.ENOTDIR
    elif not os.access(there, os.W_OK | os.X_OK if there.is_dir() else os.W_OK):
        trouble = errno.EACCES
    if trouble:
        noun = "folder" if folder else "file"
        message = (
            f"{path}: cannot be written: {os.strerror(trouble)}; choose another {noun} with "
            f"{option}"
        )
        raise UsageError(message)


def _ready_for_link(latest: Path) -> None:
    if latest.is_dir() and not latest.is_symlink():
        message = f"{latest}: is a folder, not the link to the latest run; move it away"
        raise UsageError(message)


def new_folder(results: Path, name: str) -> Path:
    """Make ``results/<time>-<scenario>`` and point ``results/latest`` at it."""
    stamp = dt.datetime.now().astimezone().strftime("%Y%m%dT%H%M%S")
    folder = results / f"{stamp}-{name}"
    latest = results / "latest"
    _ready_for_link(latest)
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
