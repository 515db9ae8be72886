"""The short form of `make crash`: whatever dies, the rows are in order afterwards."""

from __future__ import annotations

from tests.crash.chaos import Chaos, seed_from_environment
from tests.crash.stand import Stand


async def test_random_deaths_leave_everything_in_order(stand: Stand) -> None:
    happened: list[str] = []
    chaos = Chaos(stand=stand, seed=seed_from_environment(), say=happened.append, servers=1)
    # How soon all is well again is for the long form to say, on a machine that does nothing else.
    breaches = await chaos.run(seconds=8, settle_seconds=180)
    assert breaches == [], f"CRASH_SEED={chaos.seed}: {happened}"
    assert all(person.sent for person in chaos.people)
