"""The examples of the page about contracts, copied and pasted, answer as printed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from fewseconds import scenario_file
from mock_psp.serve import Options, Services

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contracts.md"
BLOCK = re.compile(r"```(sh|json)\n(.*?)```", re.DOTALL)
END = "=== end of an example ==="


def examples() -> list[tuple[str, str]]:
    """Shell commands with the answer that is printed below them; empty if none is."""
    found: list[tuple[str, str]] = []
    for kind, text in BLOCK.findall(PAGE.read_text("utf-8")):
        if kind == "sh":
            found.append((text, ""))
        else:
            found[-1] = (found[-1][0], text.strip())
    return found


def test_every_example_answers_as_printed(tmp_path: Path) -> None:
    """Only ports and folder are those of the test; where an ellipsis is, anything may stand."""
    allowed = Options(faults_allowed=True)
    scenario, folder = scenario_file.load("smoke"), tmp_path / "world"
    with Services(scenario, 7, folder, options=allowed) as services:
        lines = ["set -e"]
        for text, _ in examples():
            lines += [text.rstrip(), f"echo; echo '{END}'"]
        script = "\n".join(lines)
        for port, service in ((8800, "psp"), (8801, "biller"), (8802, "sms")):
            script = script.replace(f":{port}", f":{services.spec.ports[service]}")
        told = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    answers = [part.strip() for part in told.stdout.split(END)]
    printed = [answer for _, answer in examples()]
    assert sum(bool(answer) for answer in printed) >= 8
    for answer, wanted in zip(answers, printed, strict=False):
        pattern = ".*?".join(re.escape(part) for part in wanted.split("…"))
        assert re.fullmatch(pattern, answer, re.DOTALL), (wanted, answer)
