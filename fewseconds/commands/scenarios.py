"""``fewseconds scenarios``: what is shipped."""

from __future__ import annotations

from fewseconds import scenario_file
from fewseconds.commands import console


def scenarios(*, as_json: bool) -> int:
    """List every shipped scenario with its title."""
    found = {name: scenario_file.load(name) for name in scenario_file.shipped()}
    if as_json:
        console.print_json(
            {
                "scenarios": [
                    {"name": n, "title": s.title, "scenario_hash": s.digest}
                    for n, s in found.items()
                ]
            }
        )
    else:
        for name, scenario in found.items():
            console.show(f"{name:20} {scenario.title}")
    return 0
