"""Commands in the documentation: each must be one that the command line knows, with its options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from fewseconds.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^ {4,}.*(?:\\\n.*)*$", re.MULTILINE)
INLINE = re.compile(r"`(fewseconds [^`]+)`")
COMMAND = re.compile(r"(?:^|[\s$])(?:\.venv/bin/)?(fewseconds [a-z].*)$", re.MULTILINE)
OPTION = re.compile(r"(?:^|[\s\[`(])(--[a-z][a-z-]*)")


class Said(NamedTuple):
    """A command as a page says it."""

    page: str
    text: str


def said(page: Path) -> Iterator[Said]:
    """Every command of a page, in blocks and in sentences."""
    text = page.read_text(encoding="utf-8")
    blocks = [*FENCE.findall(text), *INDENTED.findall(FENCE.sub("", text))]
    for block in blocks:
        for command in COMMAND.findall(block.replace("\\\n", " ")):
            yield Said(page.name, command)
    for command in INLINE.findall(FENCE.sub("", text)):
        yield Said(page.name, " ".join(command.split()))


def complaints(command: str) -> list[str]:
    """What the command line does not know of a command."""
    # A comment, a pipe or a following command belongs to the shell.
    words = re.split(r" [|#&>;] ?| \d?> ", command)[0].split()[1:]
    here: Any = get_command(app)
    while words and isinstance(here, TyperGroup):
        name = words.pop(0).rstrip(".,:;")
        if name in ("…", "--help"):
            return []
        known = here.commands.get(name)
        if known is None:
            return [f"no command {name!r}"]
        here = known
    options = {name for one in here.params for name in (*one.opts, *one.secondary_opts)}
    return [
        f"{here.name} has no {name}"
        for name in OPTION.findall(" " + " ".join(words))
        if name not in options | {"--help"}
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    """No page tells a reader to type a command or an option that is refused."""
    wrong = [(one.text, found) for one in said(page) if (found := complaints(one.text))]
    assert wrong == []


def test_the_pages_do_say_commands() -> None:
    """The check sees commands of the README, of blocks and of sentences, also over two lines."""
    texts = {one.text for page in PAGES for one in said(page)}
    assert len(texts) > 80
    assert any("--secret-file secret.txt --junit conform.xml" in text for text in texts)
    assert "fewseconds load selfcheck" in texts


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("fewseconds load run smoke --rate-scale 3 --json", []),
        ("fewseconds lod run smoke", ["no command 'lod'"]),
        ("fewseconds run smoke --rate-scale 3", ["run has no --rate-scale"]),
        ("fewseconds simulate mumbai | tail --lines 3", []),
        ("fewseconds conform URL --no-such", ["conform has no --no-such"]),
    ],
)
def test_what_does_not_exist_is_found(command: str, wrong: list[str]) -> None:
    """A misspelt command and an option of another command are said; the shell's own are not."""
    assert complaints(command) == wrong
