"""The examples of the page about contracts, copied and pasted, answer as printed."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from fewseconds import scenario_file
from mock_psp.serve import Options, Services
from tests.mock_psp.pages import END, examples

if TYPE_CHECKING:
    from pathlib import Path


def test_every_example_answers_as_printed(tmp_path: Path) -> None:
    """Only ports and folder are those of the test; where an ellipsis is, anything may stand."""
    allowed = Options(faults_allowed=True)
    scenario, folder = scenario_file.load("smoke"), tmp_path / "world"
    with Services(scenario, 7, folder, options=allowed) as services:
        lines = ["set -e"]
        for text, _ in examples("contracts.md"):
            lines += [text.rstrip(), f"echo; echo '{END}'"]
        script = "\n".join(lines)
        for port, service in ((8800, "psp"), (8801, "biller"), (8802, "sms")):
            script = script.replace(f":{port}", f":{services.spec.ports[service]}")
        told = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    answers = [part.strip() for part in told.stdout.split(END)]
    printed = [answer for _, answer in examples("contracts.md")]
    assert sum(bool(answer) for answer in printed) >= 8
    for answer, wanted in zip(answers, printed, strict=False):
        pattern = ".*?".join(re.escape(part) for part in wanted.split("…"))
        assert re.fullmatch(pattern, answer, re.DOTALL), (wanted, answer)
