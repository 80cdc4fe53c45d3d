"""Which state of the code is running, for the record."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

LIBRARIES = (
    "simpy",
    "locust",
    "litestar",
    "sqlalchemy",
    "zxing-cpp",
    "pyzbar",
    "opencv-python-headless",
    "segno",
)


def commit() -> str:
    """The commit of the checkout, with ``+`` if files differ from it; ``unknown`` outside one."""
    root = Path(__file__).resolve().parent.parent
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=10"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of the product, of Python and of the libraries that results depend on."""
    found = {"fewseconds": _version("fewseconds"), "python": platform.python_version()}
    return found | {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
