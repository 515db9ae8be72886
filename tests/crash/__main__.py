"""`make crash`: the long form, by `--seconds` and `--seed`; ends with 1 where a rule is broken."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("SECRET_KEY", "x" * 50)
os.environ.setdefault("FIELD_ENCRYPTION_KEYS", "y" * 50)
os.environ.setdefault("LOG_LEVEL", "CRITICAL")

import django

django.setup()

from asgiref.sync import async_to_sync  # noqa: E402  (models need the app registry)
from django.conf import settings  # noqa: E402

from tests.crash.chaos import LAPSE_SECONDS, Chaos, seed_from_environment  # noqa: E402
from tests.crash.stand import TAKE_OVER_SECONDS, Stand, crash_stand  # noqa: E402


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run once and print what happened."""
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    settings.PASSWORD_HASHERS = ["tests.passwords.OneRound", *settings.PASSWORD_HASHERS]
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    seed = seed_from_environment() if asked.seed is None else asked.seed
    say(f"seed {seed}")
    with crash_stand() as stand:
        return _report(stand, seed, asked.seconds)


def _report(stand: Stand, seed: int, seconds: float) -> int:
    chaos = Chaos(stand=stand, seed=seed, say=say)
    settle_seconds = LAPSE_SECONDS + TAKE_OVER_SECONDS
    breaches = async_to_sync(chaos.run)(seconds=seconds, settle_seconds=settle_seconds)
    ends = stand.query(
        "SELECT status, reason, count(*), sum(takeovers) FROM chat_run "
        "WHERE upstream <> 'demo' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    say(f"\n{sum(person.sent for person in chaos.people)} messages acknowledged, each stored once")
    for status, reason, count, takeovers in ends:
        say(f"{count:5} {status} {reason} ({takeovers} take-overs)")
    say(f"all ended {chaos.settled_after:.1f} s after the last fault")
    for breach in breaches:
        say(f"BROKEN {breach}")
    say(f"{len(breaches)} rules broken; again with: make crash ARGS='--seed {seed}'")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
