"""The commands of the QA engineer's page, copied and pasted, do what is printed below them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mock_psp.pages import END, examples

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_every_command_of_the_page_does_what_is_printed(tmp_path: Path) -> None:
    """Only port and folder are those of the test; where an ellipsis is, anything may stand."""
    port = str(free_port())
    lines = []
    for text, _ in examples("qa.md"):
        lines += [text.rstrip(), f"echo '{END}'"]
    script = "\n".join(lines).replace("5000", port).replace("/tmp/qa", str(tmp_path))  # noqa: S108 - the page's
    # Job control gives the biller the name by which the page ends it; whatever happens, it ends.
    begin = "set -m\ntrap 'kill $(jobs -p) 2> /dev/null' EXIT\n"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", begin + script], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ | {"PATH": path},
    )  # fmt: skip
    answers = [part.strip() for part in done.stdout.split(END)]
    printed = [answer for _, answer in examples("qa.md")]
    assert sum(bool(answer) for answer in printed) >= 5
    for answer, wanted in zip(answers, printed, strict=False):
        if wanted:
            pattern = ".*?".join(
                re.escape(part) for part in wanted.replace("5000", port).split("…")
            )
            assert re.fullmatch(pattern, answer, re.DOTALL), (
                f"{wanted}\n--- is not ---\n{answer}\n{done.stderr}"
            )
