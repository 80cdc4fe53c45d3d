"""Where results go is looked at before anything is computed for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner, Result

from fewseconds.cli import app
from fewseconds.errors import EXIT_USAGE

if TYPE_CHECKING:
    from pathlib import Path


def said(*arguments: object) -> Result:
    """What a command leaves behind."""
    return CliRunner().invoke(app, [str(part) for part in arguments])


WRITING = [
    (["plan", "smoke"], "--out"),
    (["simulate", "smoke"], "--results"),
    (["simulate", "smoke"], "--rows"),
    (["simulate", "smoke", "--check-engines"], "--rows"),
    (["describe", "smoke"], "--results"),
    (["serve", "smoke"], "--folder"),
    (["conform", "http://127.0.0.1:9", "--secret-file", "s"], "--junit"),
    (["conform", "http://127.0.0.1:9", "--secret-file", "s"], "--page"),
    (["load", "run", "smoke"], "--results"),
    (["load", "corpus", "smoke"], "FILE"),
    (["load", "gate", "smoke"], "--results"),
    (["compare", "smoke", "mumbai"], "--results"),
    (["sweep", "smoke", "--vary", "stations.biller.servers=1..2"], "--results"),
    (["capacity", "smoke"], "--results"),
    (["scan", "survey"], "--out"),
    (["scan", "census", "smoke"], "--out"),
    (["scan", "bill", "smoke"], "--out"),
]
FOLDERS = ("--results", "--folder")


@pytest.mark.parametrize(("words", "option"), WRITING)
def test_what_cannot_be_written_is_refused_before_anything_is_computed(
    words: list[str], option: str, tmp_path: Path
) -> None:
    """A place below a file, and one of the other kind: no header, one sentence, nothing made."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    folder = option in FOLDERS or words[:2] in (["scan", "survey"], ["scan", "census"])
    for name in ("file/deep/down.pdf", "file" if folder else "folder"):
        named = [] if option == "FILE" else [option]
        refused = said(*words, *named, tmp_path / name, "--json")
        assert refused.exit_code == EXIT_USAGE
        (line,) = refused.stderr.splitlines()
        assert line.startswith(f"✗ {tmp_path / name}: cannot be written: ")
        assert line.endswith(f"choose another {'folder' if folder else 'file'} with {option}")
        told = {"error": line.removeprefix("✗ "), "exit_code": EXIT_USAGE}
        assert json.loads(refused.stdout) == told
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_every_command_that_writes_is_held_to_it() -> None:
    """Whatever takes one of these options is in the list above; the command line says which."""
    said_as = {"--results", "--out", "--rows", "--folder", "--junit", "--page"}
    found: set[tuple[tuple[str, ...], str]] = set()
    ahead: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(app))]
    while ahead:
        path, command = ahead.pop()
        ahead += [((*path, name), one) for name, one in getattr(command, "commands", {}).items()]
        for parameter in command.params:
            found |= {(path, option) for option in said_as.intersection(parameter.opts)}
    held = {(tuple(words[: 1 + (words[0] in ("load", "scan"))]), one) for words, one in WRITING}
    # The other name of one option.
    found -= {(("simulate",), "--out"), (("describe",), "--out")}
    assert found == held - {(("load", "corpus"), "FILE")} | {(("run",), "--results")}


def test_a_dry_run_needs_no_place_to_write(tmp_path: Path) -> None:
    """Nothing is sent and nothing is written, so results that cannot be written do no harm."""
    (tmp_path / "file").write_text("in the way")
    told = said("load", "run", "smoke", "--dry-run", "--results", tmp_path / "file", "--json")
    assert told.exit_code == 0
    assert json.loads(told.stdout)["sent"] == 0
