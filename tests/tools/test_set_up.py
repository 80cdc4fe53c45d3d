"""The set-up of a fresh checkout: done once, repaired when damaged, clear when it cannot go on."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Hands out a wheel that is already there, so that no build library is needed.
BACKEND = """
import shutil
def build_editable(folder, config_settings=None, metadata_directory=None):
    shutil.copy("own-1.0-py3-none-any.whl", folder)
    return "own-1.0-py3-none-any.whl"
"""
PYPROJECT = """
[project]
name = "own"
version = "1.0"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def record_row(name: str, content: str) -> str:
    """One row of a wheel's RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=")
    return f"{name},sha256={digest.decode()},{len(content)}\n"


def write_wheel(folder: Path, name: str, module: str, content: str) -> str:
    """Make a wheel of one file and return the line that locks it."""
    info = f"{name}-1.0.dist-info"
    files = {
        module: content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = "".join(record_row(*file) for file in files.items())
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in files.items():
            wheel.writestr(*file)
        wheel.writestr(f"{info}/RECORD", f"{rows}{info}/RECORD,,\n")
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """A checkout whose one locked dependency lies beside it: no network, no minute of waiting."""
    root = tmp_path / "checkout"
    (root / "tools").mkdir(parents=True)
    (tmp_path / "wheels").mkdir()
    shutil.copy(repository / "tools" / "set_up.py", root / "tools")
    (root / "backend.py").write_text(BACKEND, encoding="utf-8")
    (root / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    write_wheel(root, "own", "_own.pth", f"{root}\n")
    locked = write_wheel(tmp_path / "wheels", "tiny", "tiny.py", "NUMBER = 42\n")
    (root / "requirements.lock").write_text(locked, encoding="utf-8")
    return root


def set_up(
    root: Path, *arguments: str, first: str = "", path: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the set-up of ``root``, after the statements in ``first``, and return what it said."""
    start = f"import runpy, sys\n{textwrap.dedent(first)}\nsys.argv[0] = 'set_up.py'\n"
    start += f"runpy.run_path({str(root / 'tools' / 'set_up.py')!r}, run_name='__main__')"
    settings = {
        "PATH": os.environ["PATH"] if path is None else path,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(root.parent / "wheels"),
    }
    return subprocess.run(
        [sys.executable, "-c", start, *arguments],
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )


def number(root: Path) -> str:
    """What the checkout's own interpreter finds in the locked dependency."""
    asked = "import tiny, backend; print(tiny.NUMBER)"
    return subprocess.run(
        [root / ".venv" / "bin" / "python", "-c", asked],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    ).stdout


# What is said where the zbar library is missing depends on the machine and has its own test.
WITH_ZBAR = "import ctypes.util; ctypes.util.find_library = lambda name: 'libzbar.so.0'"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_checkout_is_set_up_once_and_repaired_when_damaged(checkout: Path) -> None:
    """The set-up installs, then stays silent, until something that it left is gone or changed."""
    site = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    venv = checkout / ".venv"

    def forget_stamp() -> None:
        (venv / "set-up.json").unlink()

    def truncate_module() -> None:
        (venv / site / "tiny.py").write_text("", encoding="utf-8")

    def remove_distribution() -> None:
        (venv / site / "tiny.py").unlink()
        shutil.rmtree(venv / site / "tiny-1.0.dist-info")

    def damage_pip() -> None:
        (venv / site / "pip" / "__init__.py").unlink()

    def break_interpreter() -> None:
        (venv / "bin" / "python").unlink()
        (venv / "bin" / "python").symlink_to("/nonexistent/python3")

    def leave_half_a_venv() -> None:
        shutil.rmtree(venv)
        (venv / "bin").mkdir(parents=True)

    def move_checkout() -> None:
        stamp = json.loads((venv / "set-up.json").read_text(encoding="utf-8"))
        stamp["root"] = "/elsewhere"
        (venv / "set-up.json").write_text(json.dumps(stamp), encoding="utf-8")

    def change_project() -> None:
        (checkout / "pyproject.toml").write_text(PYPROJECT + "# changed\n", encoding="utf-8")

    def leave_as_it_is() -> None:
        assert not venv.exists()

    for damage in (
        leave_as_it_is,
        forget_stamp,
        truncate_module,
        remove_distribution,
        damage_pip,
        break_interpreter,
        leave_half_a_venv,
        move_checkout,
        change_project,
    ):
        damage()
        made = set_up(checkout, first=WITH_ZBAR)
        assert (made.returncode, made.stderr.count("\n")) == (0, 2), made.stderr
        assert number(checkout) == "42\n"
        again = set_up(checkout, first=WITH_ZBAR)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    asked = set_up(checkout, "--asked", first=WITH_ZBAR)
    assert asked.stderr == "set-up: ready, nothing to do\n"


@pytest.mark.slow
def test_a_file_with_another_hash_is_refused(checkout: Path) -> None:
    """A dependency that is not the locked file, byte for byte, stops every set-up."""
    lock = checkout / "requirements.lock"
    lock.write_text("tiny==1.0 --hash=sha256:" + "0" * 64 + "\n", encoding="utf-8")
    for _ in range(2):
        refused = set_up(checkout, first=WITH_ZBAR)
        assert refused.returncode == 2
        assert "pip could not install requirements.lock: THESE PACKAGES DO NOT MATCH" in (
            refused.stderr
        )
    assert number(checkout) == ""


def test_a_python_without_ensurepip_is_told_which_package_to_install(checkout: Path) -> None:
    """Debian's python3 comes without ensurepip, and the one sentence names python3-venv."""
    refused = set_up(checkout, first="sys.modules['ensurepip'] = None")
    assert refused.returncode == 2
    assert "apt-get install python3-venv" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""
    assert not (checkout / ".venv").exists()


def test_an_old_python_is_told_what_is_needed(checkout: Path) -> None:
    """An interpreter before 3.11 gets a sentence and not a traceback."""
    refused = set_up(checkout, first="sys.version_info = (3, 9, 2)")
    assert refused.returncode == 2
    assert refused.stderr == (
        "set-up: this is Python 3.9, fewseconds needs 3.11 or newer; "
        "name another one with: make PYTHON=python3.12 …\n"
    )


def test_the_script_can_be_read_by_old_interpreters(repository: Path) -> None:
    """The syntax is that of Python 3.8, else the sentence about old versions would not be seen."""
    source = (repository / "tools" / "set_up.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 8))


@pytest.mark.parametrize(
    ("programs", "sentence"),
    [
        (
            {"apt-get": "exit 0"},
            "this user may not install it; install it with: apt-get install libzbar0 (as root)",
        ),
        (
            {"apt-get": "exit 0", "sudo": "exit 1"},
            "this user may not install it; install it with: apt-get install libzbar0 (as root)",
        ),
        ({}, "install zbar with this system's package manager, then: make setup"),
        (
            {
                "apt-get": "echo 'E: Unable to locate package libzbar0' >&2; exit 100",
                "sudo": '[ "$2" = true ] || { shift; exec "$@"; }',
            },
            "apt-get failed (Unable to locate package libzbar0); install it with: apt-get",
        ),
    ],
    ids=["no sudo", "sudo wants a password", "no apt", "apt fails"],
)
def test_a_missing_zbar_is_one_sentence_and_no_failure(
    checkout: Path, programs: dict[str, str], sentence: str
) -> None:
    """Where libzbar0 cannot be installed the set-up says once what is lost and what to do."""
    binaries = checkout.parent / "bin"
    binaries.mkdir()
    for name, script in programs.items():
        (binaries / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (binaries / name).chmod(0o755)
    (binaries / "env").write_text('#!/bin/sh\nshift\nexec "$@"\n', encoding="utf-8")
    (binaries / "env").chmod(0o755)
    asked = f"""
        import ctypes.util, os
        ctypes.util.find_library = lambda name: None
        os.geteuid = lambda: 1000
        names = runpy.run_path({str(checkout / "tools" / "set_up.py")!r})
        sys.exit(names["install_zbar"]())
    """
    said = set_up(checkout, first=asked, path=str(binaries))
    assert said.returncode == 0
    assert said.stderr.startswith("set-up: libzbar0 is missing, so the pyzbar scanner is left out")
    assert sentence in said.stderr
    assert said.stderr.count("\n") == 1
