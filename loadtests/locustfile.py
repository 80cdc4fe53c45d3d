"""Locust's entry: user classes stand for parts of a plan, which our dispatcher plays.

`fewseconds load run` starts it with orders in a file. A person starts it as any locustfile, with
its page or without: `locust -f loadtests/locustfile.py --services FOLDER [CLASS …]`, where FOLDER
is what `fewseconds serve` has named; a plan is then made of Locust's options and the classes.

Alone, as a master, or as a worker on this or another host: worker i of n plays rows i, i + n,
i + 2n, … of the same plan. Workers need nothing but this file: they are sent their rows, and what
a worker on another host wrote down is sent back.
"""

from __future__ import annotations

import os
from typing import Any

from locust import User, constant, events, task

from loadtests import crew
from loadtests.journeys import Journeys
from loadtests.plain import EVERYBODY, Part, add_options
from loadtests.spec import SPEC_VARIABLE


class Consumers(User):
    """A part of the plan, whose consumers are rows and not Locust users.

    How many users Locust starts has no effect; one idles because stock Locust wants one.
    """

    abstract = True
    # Locust's page asks for a host if there is none; ours are told by options.
    host = "as --services or --psp-url say"
    wait_time = constant(3600)
    part = EVERYBODY

    @task
    def idle(self) -> None:
        """Do nothing: the dispatcher plays the rows at their times."""


class MixedDay(Consumers):
    """Everybody, in the shares that the scenario says."""


class PhonePe(Consumers):
    """Consumers who scan their bill's code with PhonePe."""

    part = Part(kinds=("qr_ebill",), app="phonepe")


class GooglePay(Consumers):
    """Consumers who scan their bill's code with Google Pay."""

    part = Part(kinds=("qr_ebill",), app="google_pay")


class Paytm(Consumers):
    """Consumers who scan their bill's code with Paytm."""

    part = Part(kinds=("qr_ebill",), app="paytm")


class AmazonPay(Consumers):
    """Consumers who scan their bill's code with Amazon Pay."""

    part = Part(kinds=("qr_ebill",), app="amazon_pay")


class Bhim(Consumers):
    """Consumers who scan their bill's code with BHIM."""

    part = Part(kinds=("qr_ebill",), app="bhim")


class Counter(Consumers):
    """Consumers who scan the placard of a counter."""

    part = Part(kinds=("qr_counter",))


class PortalFirstTime(Consumers):
    """Consumers who open an account at the old portal before they can pay."""

    part = Part(kinds=("portal_first",))


class PortalReturning(Consumers):
    """Consumers who have an account at the old portal."""

    part = Part(kinds=("portal",))


class TwoPhonesOneBill(Consumers):
    """Two phones of a household scan the same bill a moment apart: it must be paid once."""

    part = Part(kinds=("qr_ebill",), doubled=True)


class PollStorm(Consumers):
    """Everybody at once, and apps that ask every second what became of a pending payment."""

    part = Part(kinds=("qr_ebill", "qr_counter"), storm=True)


@events.init_command_line_parser.add_listener
def options(parser: Any, **_: Any) -> None:  # noqa: ANN401 - as above
    """Have Locust know our options, unless the orders come in a file."""
    if not os.environ.get(SPEC_VARIABLE):
        add_options(parser)


@events.init.add_listener
def init(environment: Any, **_: Any) -> None:  # noqa: ANN401 - as above
    """Take part."""
    job = Journeys(environment)
    crew.enlist(environment, job)
    if environment.web_ui is not None:
        # Its page is Locust's; without one nothing of it is loaded.
        from loadtests.web_page import extend  # noqa: PLC0415

        extend(environment.web_ui, job.onlookers)
