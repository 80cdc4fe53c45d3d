"""The *Journeys* tab of Locust's page: what it says, and that a real browser shows it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from flask import Flask

from fewseconds import scenario_file
from fewseconds.slo import Validity
from loadtests.histogram import Histogram
from loadtests.launch import LOCUSTFILE, free_port
from loadtests.spec import SPEC_VARIABLE
from loadtests.standing import Standing, objectives
from loadtests.verdict import Said
from loadtests.web_page import COLUMNS, extend, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.loadtests.conftest import Played

PATIENCE_S = 60.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NEEDED = "FEWSECONDS_BROWSER"
"""Set by .ci/run: there, a missing browser is a failure and no reason to skip."""


def packed(values_s: Any) -> dict[str, Any]:  # noqa: ANN401 - numbers
    """A histogram as a worker sends it."""
    histogram = Histogram()
    histogram.add(np.array([round(value * 1e6) for value in values_s], np.int64))
    return histogram.packed()


def test_the_table_says_what_was_seen() -> None:
    """Steps in the scenario's order with their funnel, then measures with limits, then the lag."""
    scenario = scenario_file.load("smoke")
    standing = Standing(
        intended=200, started=200, in_flight=20, late=3, failed={"pay": 9},
        fates={"qr_ebill": {"confirmed": 170, "failed": 10}},
        steps={"pay": packed([1.0] * 150), "scan": packed([0.25] * 200)},
        measures={"machine_time": packed([2.0] * 500 + [20.0] * 100), "sms_time": packed([1.0])},
        shares={"error_rate": (10, 180)}, lag=packed([0.004] * 180),
    )  # fmt: skip
    rows = table(scenario, standing, objectives(scenario, standing))
    assert [row["what"] for row in rows] == [
        "journeys started", "Scan the QR", "Pay", "machine time", "sms time", "error rate",
        "lag of the generator",
    ]  # fmt: skip
    by_name = {row["what"]: row for row in rows}
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert (
        by_name["journeys started"]["says"] == "20 under way, 180 ended: 170 confirmed, 10 failed"
    )
    assert by_name["Scan the QR"]["funnel"] == "████████████ 100 %"
    assert by_name["Pay"]["funnel"] == "█████████░░░ 75 %"
    assert by_name["Pay"]["lost"] == "9 (6 %)"
    # 600 values support a p95, one value supports nothing beyond itself.
    assert (by_name["machine time"]["p50"], by_name["machine time"]["p95"]) == ("2.0 s", "20.0 s")
    assert "✓ p50 ≤ 5.0 s" in by_name["machine time"]["says"]
    assert "✗ p95 ≤ 10.0 s" in by_name["machine time"]["says"]
    assert by_name["sms time"]["p95"] == "–"
    assert by_name["error rate"]["says"].startswith("✗")
    assert by_name["lag of the generator"]["says"] == "3 late, 0 dropped"


def test_a_spoilt_run_is_no_pass_on_the_page() -> None:
    """Under way the page says what holds so far, and at its end the verdict; both say why."""
    standing = Standing(
        intended=600, started=600, shares={"error_rate": (0, 600)},
        measures={name: packed([1.0] * 600) for name in ("machine_time", "sms_time")},
    )  # fmt: skip
    onlookers = SimpleNamespace(
        standing=lambda: standing, scenario=scenario_file.load("smoke"), said=None
    )
    web_ui = SimpleNamespace(
        app=Flask("page"), template_args={}, auth_required_if_enabled=lambda view: view
    )
    extend(web_ui, onlookers)  # type: ignore[arg-type]
    client = web_ui.app.test_client()
    under_way = client.get("/journeys").get_json()
    assert (under_way["verdict"], under_way["over"]) == ("pass", False)
    assert (under_way["rows"][0]["what"], under_way["rows"][0]["says"]) == ("so far: pass", "")
    standing.lags, standing.begun_late = packed([0.03] * 600), 600
    spoilt = client.get("/journeys").get_json()
    assert (spoilt["verdict"], spoilt["over"]) == ("inconclusive", False)
    assert spoilt["reasons"][0].startswith("steps began up to 30 ms late")
    assert {one["word"] for one in spoilt["objectives"]} == {"inconclusive"}
    first = spoilt["rows"][0]
    assert (first["what"], first["says"]) == ("so far: inconclusive", " ".join(spoilt["reasons"]))
    late = "steps began up to 3000 ms late; free a processor"
    onlookers.said = Said(
        word="inconclusive", exit_code=3, validity=Validity(valid=False, reasons=(late,)),
        verdicts=(), generator=None, fates={}, workers=2, notes=(),
    )  # fmt: skip
    told = client.get("/journeys").get_json()
    assert (told["verdict"], told["over"], told["reasons"]) == ("inconclusive", True, [late])
    assert (told["rows"][0]["what"], told["rows"][0]["says"]) == ("verdict: inconclusive", late)


@pytest.fixture(scope="module")
def browser() -> str:
    """A browser without a window."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        if os.environ.get(NEEDED):
            pytest.fail(f"{NEEDED} is set, but none of {', '.join(BROWSERS)} is installed")
        pytest.skip("no browser here: on Debian, apt-get install chromium")
    return found


class Page:
    """Locust's page, on a port of this machine."""

    def __init__(self, port: int) -> None:
        """Wait until it answers."""
        self.address = f"http://127.0.0.1:{port}"
        self.until(lambda: self.get("/"))

    def until(self, look: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever was found
        """Look again and again until something is there."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            try:
                if found := look():
                    return found
            except OSError:
                pass
            time.sleep(0.1)
        raise TimeoutError

    def get(self, path: str) -> str:
        """What is there."""
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:  # noqa: S310 - ours
            text: str = answer.read().decode()
        return text

    def start(self) -> None:
        """Press Start."""
        form = urllib.parse.urlencode({"user_count": 1, "spawn_rate": 1, "host": ""}).encode()
        with urllib.request.urlopen(self.address + "/swarm", form, timeout=10) as answer:  # noqa: S310 - ours
            assert json.load(answer)["success"]


@pytest.fixture
def page(orders: Callable[..., Played], tmp_path: Path) -> Iterator[Page]:
    """Stock Locust with its page and two workers, which play thirty short journeys."""
    played, port, inner = orders(2), free_port(), str(free_port())
    played.generator.orders.write_bytes(msgspec.json.encode(played.generator.spec))
    command = [
        sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--processes", "2",
        "--web-host", "127.0.0.1", "--web-port", str(port),
        "--master-bind-host", "127.0.0.1", "--master-bind-port", inner, "--master-port", inner,
    ]  # fmt: skip
    with (tmp_path / "locust.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | {SPEC_VARIABLE: str(played.generator.orders)},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        found = Page(port)
        found.until(lambda: json.loads(found.get("/stats/requests")).get("worker_count") == 2)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_browser_shows_the_journeys_of_both_workers(
    browser: str, page: Page, tmp_path: Path
) -> None:
    """When all is over, the tab's table in the browser's own document is that of the endpoint."""
    page.start()

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(page.get("/journeys"))
        return found if found["fates"] == {"portal": {"confirmed": 30}} else None

    page.until(ended)
    page.until(lambda: json.loads(page.get("/stats/requests"))["state"] == "stopped")
    told = json.loads(page.get("/journeys"))
    assert (told["intended"], told["started"], told["in_flight"]) == (30, 30, 0)
    assert told["verdict"] == "inconclusive"
    ran = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.address + "/?tab=journeys"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", ran.stdout)
    shown = [re.sub(r"<[^>]+>", "", cell) for cell in cells]
    assert "Journeys" in re.sub(r"<[^>]+>", " ", ran.stdout)
    assert shown[: len(COLUMNS)] == list(COLUMNS.values())
    rows = [list(row.values()) for row in told["rows"]]
    width = len(COLUMNS)
    assert [shown[n : n + width] for n in range(width, len(shown), width)] == rows
