"""What a request costs: our client against the others, in one run."""

from __future__ import annotations

import pytest

from loadtests.bench import CLIENTS, bench


@pytest.mark.slow
@pytest.mark.alone
def test_our_client_costs_less_than_the_others_of_its_kind() -> None:
    """In one run, FastHttpUser and geventhttpclient each take more processor time a request."""
    found = bench(3000, 3, lambda *_: None)
    costs = {name: found[name].cpu_us_per_request for name in CLIENTS}
    lean, fasthttp, library = costs.values()
    assert lean is not None
    assert fasthttp is not None
    assert library is not None
    assert lean < library < fasthttp
    assert all(len(found[name].repeats) == 3 for name in CLIENTS)
