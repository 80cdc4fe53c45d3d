"""Make ``.venv`` hold what ``requirements.lock`` says, and nothing more often than needed.

The Makefile runs this with the system's own Python, so it uses the standard library alone and
stays readable to interpreters older than the one it asks for. It ends with 0 and silence when all
is in place, and with one sentence that says what to do when it cannot go on.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes.util
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PYTHON_MIN = (3, 11)
SHORT_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
WITHOUT_ENSUREPIP = (
    f"Python {SHORT_VERSION} has no working ensurepip, so no virtual environment can be made; "
    "on Debian install the package python3-venv (as root: apt-get install python3-venv), "
    "then repeat the command"
)
ROOT = Path(__file__).resolve().parent.parent
APT_TIMEOUT_S = 300


class SetUpError(Exception):
    """The set-up cannot go on; the message is the sentence for the person at the keyboard."""


class Stamp(NamedTuple):
    """What a finished set-up has left, as ``.venv/set-up.json`` keeps it."""

    python: str
    """Version of the interpreter; a wheel fits only one."""
    root: str
    """Folder of the checkout: scripts in a virtual environment carry their own address."""
    wanted: str
    """SHA-256 over requirements.lock and pyproject.toml."""
    distributions: list[str]
    """Names of the ``.dist-info`` folders that were there at the end."""
    zbar: bool
    """Whether the zbar library was there; if not, it is asked for again only by name."""


def say(sentence: str) -> None:
    """Tell the person at the keyboard one thing."""
    print(f"set-up: {sentence}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up this checkout; return the exit code (0 ready, 2 something has to be done first)."""
    parser = argparse.ArgumentParser(description="Make .venv and install the locked dependencies.")
    parser.add_argument(
        "--asked", action="store_true", help="say so when all is ready, and look for zbar again"
    )
    asked = parser.parse_args(arguments).asked
    try:
        refuse_old_python()
        with alone(ROOT):
            done = set_up(ROOT, asked=asked)
    except SetUpError as trouble:
        say(str(trouble))
        return 2
    except KeyboardInterrupt:
        say("interrupted; the next call goes on from here")
        return 130
    if asked and not done:
        say("ready, nothing to do")
    return 0


def refuse_old_python() -> None:
    """Raise SetUpError where the interpreter that runs this file is older than the code needs."""
    if sys.version_info < PYTHON_MIN:
        raise SetUpError(
            f"this is Python {SHORT_VERSION}, fewseconds needs 3.11 or newer; "
            "name another one with: make PYTHON=python3.12 …"
        )


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep a second set-up of the same checkout waiting until this one is done."""
    with (root / "requirements.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this folder to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_up(root: Path, *, asked: bool) -> bool:
    """Bring ``root`` to the wanted state; return whether there was anything to do."""
    venv = root / ".venv"
    stamp = read_stamp(venv)
    wanted = digest(root / "requirements.lock", root / "pyproject.toml")
    damaged = list(damaged_distributions(venv))
    sound = (
        interpreter(venv) == sys.version
        and (stamp is None or stamp.root == str(root))
        # pip mends everything but itself.
        and not any(info.name.startswith("pip-") for info in damaged)
    )
    complete = (
        stamp is not None
        and stamp.wanted == wanted
        and not damaged
        and set(stamp.distributions) <= set(distributions(venv))
    )
    if sound and complete and stamp is not None:
        # A library that could not be had is asked for again by `make setup` alone.
        if has_zbar() or not (asked or stamp.zbar):
            return False
        write_stamp(venv, stamp._replace(zbar=install_zbar()))
        return True
    if not sound and importlib.util.find_spec("ensurepip") is None:
        raise SetUpError(WITHOUT_ENSUREPIP)
    started = time.monotonic()
    say(f"making {venv.name} from requirements.lock, about a minute the first time …")
    # Without its stamp an interrupted set-up is seen as one, however far it got.
    with contextlib.suppress(OSError):
        stamp_file(venv).unlink()
    if not sound:
        make_environment(venv)
    for info in damaged:
        # pip takes a distribution without its record for absent, and writes all its files again.
        shutil.rmtree(info, ignore_errors=True)
    install(root, venv)
    zbar = install_zbar()
    write_stamp(venv, Stamp(sys.version, str(root), wanted, sorted(distributions(venv)), zbar))
    say(f"done in {time.monotonic() - started:.0f} s")
    return True


def digest(*paths: Path) -> str:
    """SHA-256 over the contents of files, each led by its length."""
    total = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        total.update(f"{len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def stamp_file(venv: Path) -> Path:
    """Where the finished set-up leaves its stamp."""
    return venv / "set-up.json"


def read_stamp(venv: Path) -> Stamp | None:
    """Return the stamp of a finished set-up, or None where there is none that can be read."""
    try:
        return Stamp(**json.loads(stamp_file(venv).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_stamp(venv: Path, stamp: Stamp) -> None:
    """Leave the stamp, whole or not at all."""
    half = stamp_file(venv).with_suffix(".half")
    half.write_text(json.dumps(stamp._asdict(), indent=1), encoding="utf-8")
    half.replace(stamp_file(venv))


def interpreter(venv: Path) -> str:
    """Version text of the environment's interpreter; empty when it does not run or lacks pip."""
    asking = "import sys, importlib.util as u; print(sys.version if u.find_spec('pip') else '')"
    try:
        answer = subprocess.run(
            [venv / "bin" / "python", "-I", "-c", asking],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout[:-1]


def distributions(venv: Path) -> dict[str, Path]:
    """Installed distributions: the name of each ``.dist-info`` folder, and where it is."""
    return {info.name: info for info in venv.glob("lib/python3*/site-packages/*.dist-info")}


def damaged_distributions(venv: Path) -> Iterator[Path]:
    """The ``.dist-info`` folders whose record names a file that is gone or has another size."""
    for info in distributions(venv).values():
        try:
            with (info / "RECORD").open(newline="", encoding="utf-8") as record:
                intact = all(is_intact(info.parent, row) for row in csv.reader(record))
        except (OSError, ValueError):
            intact = False
        if not intact:
            yield info


def is_intact(folder: Path, row: list[str]) -> bool:
    """Whether the file that one row of a RECORD names is there with the size written beside it."""
    name, _, size = (*row, "", "")[:3]
    if name.endswith(".pyc"):
        return True
    # os.stat on a joined text, not Path: fourteen thousand rows are read at every call of make.
    try:
        found = os.stat(f"{folder}/{name}").st_size  # noqa: PTH116
    except OSError:
        return False
    return not size or found == int(size)


def make_environment(venv: Path) -> None:
    """Make an empty virtual environment with pip, in the place of whatever was there."""
    if venv.is_symlink() or venv.is_file():
        venv.unlink()
    made = run([sys.executable, "-m", "venv", "--clear", str(venv)])
    if made.returncode == 0:
        return
    said = made.stdout + made.stderr
    if "ensurepip" in said:
        raise SetUpError(WITHOUT_ENSUREPIP)
    raise SetUpError(f"python3 -m venv failed: {last_line(said)}; mend that, then repeat")


def install(root: Path, venv: Path) -> None:
    """Install the locked dependencies, each file checked against its hash, then the project."""
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    pip += ["--no-input", "install", "--quiet", "--progress-bar", "off"]
    locked = run([*pip, "--require-hashes", "--requirement", str(root / "requirements.lock")])
    if locked.returncode != 0:
        raise SetUpError(
            f"pip could not install requirements.lock: {error_line(locked.stderr)}; "
            "look at the network and at pip's own settings, then repeat the command"
        )
    # Nothing is fetched here: the build backend is one of the locked dependencies.
    own = run([*pip, "--no-deps", "--no-index", "--no-build-isolation", "--editable", str(root)])
    if own.returncode != 0:
        raise SetUpError(
            f"pip could not install the project itself: {error_line(own.stderr)}; "
            "look at pyproject.toml, then repeat the command"
        )


def has_zbar() -> bool:
    """Whether the loader finds the library that pyzbar opens."""
    return ctypes.util.find_library("zbar") is not None


def install_zbar() -> bool:
    """Have libzbar0 installed where that is permitted; say what to do where it is not."""
    if has_zbar():
        return True
    loss = "libzbar0 is missing, so the pyzbar scanner is left out"
    if shutil.which("apt-get") is None:
        say(f"{loss}; install zbar with this system's package manager, then: make setup")
        return False
    advice = "install it with: apt-get install libzbar0 (as root), then: make setup"
    prefix = permission()
    if prefix is None:
        say(f"{loss} and this user may not install it; {advice}")
        return False
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes"]
    wanted = [*apt, "install", "--no-install-recommends", "libzbar0"]
    tried = run(wanted, timeout_s=APT_TIMEOUT_S)
    if tried.returncode != 0:
        # The usual reason is that no package list has been fetched on this machine yet.
        run([*apt, "update"], timeout_s=APT_TIMEOUT_S)
        tried = run(wanted, timeout_s=APT_TIMEOUT_S)
    if tried.returncode != 0 or not has_zbar():
        say(f"{loss}: apt-get failed ({error_line(tried.stderr)}); {advice}")
        return False
    say("installed the system library libzbar0, which the pyzbar scanner opens")
    return True


def permission() -> list[str] | None:
    """What to put before a command that root has to run; None where we may not."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and run(["sudo", "-n", "true"]).returncode == 0:
        return ["sudo", "-n"]
    return None


def run(
    command: Sequence[str], *, timeout_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end without input, and return what it printed."""
    try:
        return subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except (OSError, subprocess.TimeoutExpired) as trouble:
        return subprocess.CompletedProcess(list(command), 1, "", str(trouble))


def last_line(text: str) -> str:
    """Return the last line with anything on it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def error_line(text: str) -> str:
    """Return the first line that calls itself an error, else the last one."""
    found = re.search(r"^\s*(?:ERROR|E|error): *(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else last_line(text)


if __name__ == "__main__":
    sys.exit(main())
