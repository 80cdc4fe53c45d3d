"""Scans made ahead: they come for every journey, or their failure does.

Locust patches its process so that waiting for a pipe lets others run. The tests do the same, each
in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from fewseconds import scenario_file
from fewseconds.payer_app import in_app
from fewseconds.plan import Plan, plan, traits
from fixtures import bills, decoding, qr, scanning
from loadtests.scans import Printed

if TYPE_CHECKING:
    from pathlib import Path

SEED = 7
PRELUDE = """
import gevent.monkey
gevent.monkey.patch_all()
import json, os, signal, sys
from pathlib import Path
import gevent
from fewseconds import scenario_file
from fewseconds.errors import HarnessError
from fewseconds.plan import Plan, plan
from loadtests.scans import Scans

def some(count):
    whole = plan(scenario_file.load("smoke"), 7)
    return Plan(whole.scenario, 7, whole.table.slice(0, count))

def said(ask, *arguments):
    try:
        ask(*arguments)
    except HarnessError as error:
        return str(error)
    return ""
"""


def carry_out(script: str, *arguments: object) -> Any:  # noqa: ANN401 - JSON
    """Run a script as a patched process; what it prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        check=True,
        timeout=50,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def first_rows() -> Plan:
    """The same journeys that ``some(24)`` gives the scripts."""
    whole = plan(scenario_file.load("smoke"), SEED)
    return Plan(whole.scenario, SEED, whole.table.slice(0, 24))


def test_every_journey_gets_the_text_of_its_own_bill(tmp_path: Path, first_rows: Plan) -> None:
    """Every QR that is read says what the payer's bill says, in the app's own decoder."""
    told = carry_out(
        """
        plan = some(24)
        scans = Scans(plan, Path(sys.argv[1]), 4)
        scans.wait_until_ahead(1e-3)
        found = {row.journey_id: scans.of(row) for row in plan.rows()}
        scans.close()
        print(json.dumps({
            "scans": {
                key: [scan.text, scan.decoder, len(scan.decode_us)] for key, scan in found.items()
            },
            "misreads": scans.misreads,
            "typed": scans.typed,
        }))
        """,
        tmp_path,
    )
    rows = list(first_rows.rows())
    assert len(told["scans"]) == len(rows) == 24
    apps = first_rows.scenario.apps
    step = first_rows.scenario.steps["scan"]
    typed = 0
    for row in rows:
        text, decoder, frames = told["scans"][str(row.journey_id)]
        assert decoder == decoding.substitute(traits(first_rows.scenario, SEED, row).scanner)
        assert 1 <= frames <= in_app(step, apps[row.app]).attempts_max
        if text is None:
            typed += 1
        else:
            bill = bills.bill(SEED, row.bill)
            assert text == qr.bill_uri(SEED, bill, counter=row.kind == "qr_counter")
    assert told["misreads"] == 0
    assert told["typed"] == typed < 24
    assert (tmp_path / "strip.json").exists()


def test_a_decoding_process_that_ends_early_is_told_to_who_waits(tmp_path: Path) -> None:
    """A long window may begin with few scans; if their makers end early, whoever waits hears it."""
    # One process is killed, the other is told to end and obeys with status 0: both are too early.
    told = carry_out(
        """
        plan = some(5000)
        scans = Scans(plan, Path(sys.argv[1]), 0)
        scans.wait_until_ahead(1e6)
        done = scans._done
        waiting = [gevent.spawn(said, scans.of, row) for row in [*plan.rows()][-2:]]
        waiting.append(gevent.spawn(said, scans.wait_until_ahead, 1e-3))
        gevent.sleep(0)
        for process, number in zip(scans._processes, (signal.SIGKILL, signal.SIGTERM)):
            os.kill(process.pid, number)
        gevent.joinall(waiting)
        print(json.dumps([done, *[one.value for one in waiting]]))
        """,
        tmp_path,
    )
    done, *messages = told
    assert 20 <= done < 5000
    assert len(messages) == 3
    for message in messages:
        assert message.startswith("scans: a decoding process ended ")
        assert "load.log" in message


@pytest.mark.slow
def test_closing_ends_the_processes(tmp_path: Path) -> None:
    """Nothing decodes any more after ``close``; a plan without a QR has nobody to wait for."""
    told = carry_out(
        """
        both = []
        for count in (5000, 0):
            scans = Scans(some(count), Path(sys.argv[1]), 0)
            both += [process.pid for process in scans._processes]
            if count == 0:
                scans.wait_until_ahead(1.0)
            scans.close()
        print(json.dumps(both))
        """,
        tmp_path,
    )
    assert len(told) == 4
    for pid in told:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_printed_text_is_what_a_camera_reads() -> None:
    """Whatever a decoder reads off a photographed bill, is the text taken without a camera."""
    whole = plan(scenario_file.load("smoke"), 7)
    rows = [row for row in whole.rows() if row.medium][:12]
    printed = Printed(whole)
    for row in rows:
        counter = row.kind == "qr_counter"
        seen = scanning.scan(
            7, row.journey_id, row.bill, row.medium, "zxing-cpp", 9, counter=counter
        )
        taken = printed.of(row)
        assert taken.text in (None, seen.text) or seen.text is None
        assert len(taken.decode_us) == taken.frames >= 1
        assert not taken.misread
    assert sum(printed.of(row).text is not None for row in rows) >= 8
