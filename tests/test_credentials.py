"""Credentials from a file, and the hook that opens bills again."""

from __future__ import annotations

import http.server
import shlex
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from fewseconds import credentials, reset
from fewseconds.concealed import HIDDEN, recorded
from fewseconds.errors import HarnessError, UsageError
from fewseconds.parties import Parties

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "a-secret-that-nobody-may-see"  # noqa: S105 - a word to look for


def test_headers_are_read_by_party(tmp_path: Path) -> None:
    """TOML tables, one a party, become header lines."""
    path = tmp_path / "credentials.toml"
    path.write_text(f'[psp]\nauthorization = "Bearer {SECRET}"\n[reset]\nx-key = "1"\n', "utf-8")
    told = credentials.read(path)
    assert told == {"psp": {"authorization": f"Bearer {SECRET}"}, "reset": {"x-key": "1"}}


@pytest.mark.parametrize(
    "content",
    [
        f'[bank]\nauthorization = "{SECRET}"\n',
        f'[psp]\nauthorization = "{SECRET}\\r\\nx: y"\n',
        f'[psp]\n"two words" = "{SECRET}"\n',
        f'psp = "{SECRET}"\n',
        f"[psp\n{SECRET}",
        f'{{"token": "{SECRET}"}}',
        f"[psp]\nauthorization = 7 # {SECRET}\n",
    ],
)
def test_faults_of_credentials_are_named_without_their_values(tmp_path: Path, content: str) -> None:
    """The file and the header are named; what it holds is not repeated."""
    path = tmp_path / "credentials.toml"
    path.write_text(content, "utf-8")
    with pytest.raises(UsageError) as caught:
        credentials.read(path)
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


def test_values_that_could_be_secret_are_masked() -> None:
    """Only what every client sends is shown."""
    shown = credentials.masked({"accept": "application/json", "X-Api-Key": SECRET})
    assert shown == {"accept": "application/json", "X-Api-Key": "(not shown)"}


HOOKS = [
    f"http://127.0.0.1:5000/v2/reopen?token={SECRET}",
    f"http://127.0.0.1:5000/v2/reopen?all=1&key={SECRET}#x",
    f"curl -X POST -H 'Authorization: Bearer {SECRET}' http://127.0.0.1:5000/reopen",
    f"curl -H x-api-key:{SECRET} -d all http://127.0.0.1:5000/reopen",
    f'curl --header "Cookie: a=1; session={SECRET}" http://127.0.0.1:5000/reopen',
    f"curl -u me:{SECRET} http://127.0.0.1:5000/reopen",
    f"curl https://me:{SECRET}@example.org/reopen",
    f"sh -c 'curl -H \"X-Anything: {SECRET}\" http://127.0.0.1:5000 && echo done'",
    f"env PGPASSWORD={SECRET} psql -c reopen",
    f"python tools/reopen.py --api-token {SECRET} --all",
    f"python tools/reopen.py --password='{SECRET}'",
]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_secret_in_a_hook_is_recorded_nowhere(hook: str) -> None:
    """Neither the command that repeats a run nor what is said holds it, in either form."""
    hidden = Parties(psp_url="http://127.0.0.1:1", reset=hook).words()
    for words in (hidden, recorded(["run", "--reset", hook]), recorded([f"--reset={hook}"])):
        told = shlex.join(words)
        assert SECRET not in told
        assert HIDDEN in told
        assert shlex.split(told) == words
    assert SECRET not in reset.written(hook).says()


@pytest.mark.parametrize(
    "hook",
    [
        "make reset-bills", "http://127.0.0.1:5000/v2/reopen", "sh -c 'cd tools; ./reopen --all'",
        "python -u tools/reopen.py --port 5000 -H 'Content-Type: application/json'",
    ],
)  # fmt: skip
def test_a_hook_without_a_secret_is_recorded_as_it_is(hook: str) -> None:
    """What repeats the run can be copied."""
    assert Parties(reset=hook).words() == ["--reset", hook]
    assert recorded(["load", "run", "--reset", hook, "--seed", "7"])[3] == hook


def test_a_password_in_the_address_of_a_party_is_not_recorded() -> None:
    """Whoever it belongs to; a hook with one is refused, because nobody would send it."""
    address = f"https://me:{SECRET}@example.org:8443/psp"
    words = recorded(["run", "smoke", "--psp-url", address, f"--sms-url={address}"])
    assert words[3] == f"https://{HIDDEN}@example.org:8443/psp"
    assert words[4] == f"--sms-url={words[3]}"
    with pytest.raises(UsageError, match="write a header under \\[reset\\]") as caught:
        reset.written(address)
    assert SECRET not in str(caught.value)


def test_what_a_failing_hook_says_tells_no_secret() -> None:
    """Neither its words nor its complaint."""
    failing = reset.written(f"{sys.executable} -c 'import sys; sys.exit(\"token: {SECRET}\")'")
    with pytest.raises(HarnessError, match="ended with 1") as caught:
        failing.carry_out()
    assert SECRET not in str(caught.value)


def test_a_reset_that_fails_stops_with_its_reason() -> None:
    """The command, how it ended and what it said are told; one that ends well is silent."""
    reset.written(f"{sys.executable} -c pass").carry_out()
    failing = reset.written(f"{sys.executable} -c 'import sys; sys.exit(\"no database\")'")
    with pytest.raises(HarnessError, match=r"ended with 1 and said 'no database'; mend it"):
        failing.carry_out()
    with pytest.raises(HarnessError, match="cannot be started: No such file"):
        reset.written("/nowhere/reset-bills").carry_out()


@pytest.mark.parametrize("text", ["", "   ", "sh -c 'unclosed"])
def test_a_hook_that_is_none_is_refused(text: str) -> None:
    """An empty text or an open quotation mark is a mistake of usage."""
    with pytest.raises(UsageError, match="--reset"):
        reset.written(text)


class _Handler(http.server.BaseHTTPRequestHandler):
    asked: list[tuple[str, str]]

    def do_POST(self) -> None:
        """Answer with the status in the path."""
        self.asked.append((self.path, self.headers.get("x-key", "")))
        self.send_response(int(self.path.strip("/")))
        self.send_header("location", "/200")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[str]:
    """A server that answers with the status it is asked for."""
    _Handler.asked = []
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def test_a_reset_over_http_shows_its_credentials_and_follows_nobody(server: str) -> None:
    """A 2xx is success; a redirect, which could lead anywhere, and every other status are none."""
    for status, fails in ((200, False), (204, False), (302, True), (500, True)):
        hook = reset.Reset(url=f"{server}/{status}", headers={"x-key": SECRET})
        if fails:
            with pytest.raises(HarnessError, match=f"was answered with {status}") as caught:
                hook.carry_out()
            assert SECRET not in str(caught.value)
        else:
            hook.carry_out()
    assert _Handler.asked == [(f"/{status}", SECRET) for status in (200, 204, 302, 500)]
    with pytest.raises(HarnessError, match="got no answer: ConnectionRefusedError"):
        reset.Reset(url="http://127.0.0.1:9/").carry_out()
