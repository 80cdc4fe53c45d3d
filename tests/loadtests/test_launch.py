"""The generator's process: how it fails, and that nothing of it stays behind."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from fewseconds import scenario_file
from fewseconds.errors import EXIT_INCONCLUSIVE, EXIT_USAGE, HarnessError, UsageError
from fewseconds.plan import Plan, plan
from loadtests.launch import Generator, tail
from loadtests.spec import PLAYABLE, SCANS, Outside, Targets, unplayable

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = Targets("http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9")
TOKEN = "token-of-the-inboxes"  # noqa: S105 - a word to look for
KEY = "key-of-somebody-else"
PATIENCE_S = 40.0


def made(folder: Path) -> Generator:
    """A generator with so many scans to make that it is busy with them for a while."""
    whole = plan(scenario_file.load("smoke"), 7)
    window = Plan(whole.scenario, 7, whole.table.slice(0, 3000))
    outside = Outside(headers={"psp": {"x-key": KEY}})
    return Generator(folder, window, (0, 1_000_000), NOBODY, TOKEN, outside=outside)


def group(leader: int) -> list[int]:
    """The living processes of a process group."""
    return [pid for pid, state, pgrp in processes() if pgrp == leader and state not in "ZX"]


def processes() -> Iterator[tuple[int, str, int]]:
    """Id, state and process group of everything that runs (proc(5), ``stat``)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield int(entry.name), fields[0], int(fields[2])


def await_end(pids: list[int]) -> None:
    """Wait until processes have ended: a signal is sent at once and obeyed a little later."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([handle], [], [], PATIENCE_S)[0], pid
        finally:
            os.close(handle)


class Busy:
    """Looks at the generator until it and its two decoding processes are there."""

    def __init__(self, generator: Generator, then: signal.Signals | None) -> None:
        """``then`` is what the leader of the group is sent; without it, looking raises."""
        self.generator, self.then = generator, then
        self.members: list[int] = []

    def look(self) -> None:
        """Act once everything runs."""
        assert self.generator._process is not None
        leader = self.generator._process.pid
        members = group(leader)
        if len(members) >= 3 and not self.members:
            self.members = members
            if self.then is None:
                raise LookupError
            os.kill(leader, self.then)


def test_a_generator_that_fails_says_how_its_log_ends(tmp_path: Path) -> None:
    """It ends as a HarnessError with the cause in words, and its orders keep no credentials."""
    generator = made(tmp_path)
    Path(generator.spec.plan).write_bytes(b"no plan at all")
    given: list[str] = []
    with pytest.raises(HarnessError) as caught, generator:
        generator.wait(lambda: given.append(generator.orders.read_text("utf-8")))
    message = str(caught.value)
    assert message.startswith(f"load generator: ended with code {EXIT_INCONCLUSIVE}")
    assert "Parquet magic bytes not found" in message
    orders = tmp_path / "load.spec.json"
    assert stat.S_IMODE(orders.stat().st_mode) == 0o600
    assert msgspec.json.decode(orders.read_bytes())["targets"]["psp"] == NOBODY.psp
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (TOKEN, KEY):
        assert given[0].count(secret) == 1
        assert not [path.name for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.slow
def test_leaving_ends_the_generator_and_its_decoding_processes(tmp_path: Path) -> None:
    """When the caller gives up, nothing of the generator's group is left."""
    generator = made(tmp_path)
    busy = Busy(generator, None)
    with pytest.raises(LookupError), generator:
        generator.wait(busy.look)
    assert len(busy.members) >= 3
    await_end(busy.members)
    assert group(min(busy.members)) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_generator_that_is_killed_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A crash of the generator is a HarnessError, and its decoding processes end as well."""
    generator = made(tmp_path)
    busy = Busy(generator, number)
    with pytest.raises(HarnessError, match="before it had finished"), generator:
        generator.wait(busy.look)
    assert len(busy.members) >= 3
    await_end(busy.members)
    assert group(min(busy.members)) == []


LAUNCHER = """
import sys
from pathlib import Path
from tests_of_launch import made
with made(Path(sys.argv[1])) as generator:
    print(generator._process.pid, flush=True)
    generator.wait(lambda: None)
"""


@pytest.mark.slow
def test_the_generator_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """When the launcher is killed and can clean up nothing, the generator ends by itself."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "tests_of_launch.py").symlink_to(__file__)
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(modules)},
    )
    with launcher:
        assert launcher.stdout is not None
        leader = int(launcher.stdout.readline())
        deadline_s = time.monotonic() + PATIENCE_S
        while len(group(leader)) < 3 and time.monotonic() < deadline_s:
            select.select([], [], [], 0.1)
        members = group(leader)
        launcher.kill()
    assert len(members) >= 3
    await_end(members)
    assert group(leader) == []


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    """The end of a log is shown, whatever bytes are in it, and an empty one is called empty."""
    log = tmp_path / "load.log"
    assert tail(log) == "(the log is empty)"
    log.write_bytes(b"first\n" + b"line\n" * 11 + b"\xff last\n")
    assert tail(log).splitlines() == ["line"] * 11 + ["\N{REPLACEMENT CHARACTER} last"]


def test_steps_that_no_phone_can_do_are_refused_before_the_start(tmp_path: Path) -> None:
    """A machine step of an unknown name is a usage error; branches of the services are not."""
    steps = {"top_up": {"legs": [{"station": "payer_psp"}], "source": "assumption"}}
    journey = {"steps": ["open_portal", "top_up", "log_in"]}
    scenario = scenario_file.load("smoke", {"steps": steps, "journeys": {"portal": journey}})
    (line,) = unplayable(scenario)
    assert line.startswith("journey 'portal' step 'top_up': cannot be played")
    window = Plan(scenario, 7, plan(scenario_file.load("smoke"), 7).table.slice(0, 1))
    with pytest.raises(UsageError, match="top_up") as caught:
        Generator(tmp_path, window, (0, 1), NOBODY, TOKEN)
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("name", scenario_file.shipped())
def test_every_shipped_scenario_can_be_played(name: str) -> None:
    """Phones can do all steps of all shipped journeys."""
    assert unplayable(scenario_file.load(name)) == []


def test_a_phone_can_do_what_it_claims() -> None:
    """For each playable step there is a way to do it."""
    from loadtests.phone import Phone  # noqa: PLC0415 - only this test needs it

    ways = {"scan" if name in SCANS else name for name in PLAYABLE}
    assert all(callable(getattr(Phone, way)) for way in ways)
