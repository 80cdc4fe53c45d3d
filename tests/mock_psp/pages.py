"""The examples of a page of the documentation, as a reader copies them into a shell."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"```(sh|json|text)\n(.*?)```", re.DOTALL)
END = "=== end of an example ==="


def examples(name: str) -> list[tuple[str, str]]:
    """Shell commands with the answer that is printed below them; empty if none is."""
    found: list[tuple[str, str]] = []
    for kind, text in BLOCK.findall((DOCS / name).read_text("utf-8")):
        if kind == "sh":
            found.append((text, ""))
        else:
            found[-1] = (found[-1][0], text.strip())
    return found
