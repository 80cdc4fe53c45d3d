"""The errors a user can meet, one tree, each with its exit code.

    FewsecondsError
    ├── UsageError        exit 2: the scenario or the command line is wrong; nothing was started
    │   └── ScenarioError     lists *every* problem of a scenario file
    ├── MalformedError    exit 2: a payload, image or file does not have the form it claims
    └── HarnessError      exit 3: the harness, not the system under test, failed: inconclusive

Any other exception is a fault of ours: exit 3, with its traceback as a bug report.

A message reads ``<place>: <what is>; <what should be or do next>``, values shown with ``!r``.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_GATE_FAILED = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells count it: nothing was judged."""


class FewsecondsError(Exception):
    """Any error whose message is written for the person at the keyboard."""

    exit_code = EXIT_INCONCLUSIVE


class UsageError(FewsecondsError):
    """The request cannot be carried out as written; nothing has been started."""

    exit_code = EXIT_USAGE


class ScenarioError(UsageError):
    """A scenario file has one or more problems; all of them are in ``problems``."""

    def __init__(self, problems: list[str]) -> None:
        """Join the problems, one a line, in the order they were found."""
        self.problems = problems
        super().__init__("\n".join(problems))


class MalformedError(FewsecondsError):
    """Data from outside (a QR string, a message, a file) is not what it claims to be."""

    exit_code = EXIT_USAGE

    def __init__(self, place: str, what: str) -> None:
        """Name the parameter or field at fault in ``place`` and the trouble in ``what``."""
        self.place = place
        self.what = what
        super().__init__(f"{place}: {what}")


class HarnessError(FewsecondsError):
    """Our own machinery failed, so nothing can be said about the system under test."""

    exit_code = EXIT_INCONCLUSIVE
