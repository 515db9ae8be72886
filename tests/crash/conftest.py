"""The stand of the crash tests, and a second server that outlives what they kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.crash.stand import Stand, crash_stand
from tests.server import Server


@pytest.fixture(scope="package")
def _stand(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Stand]:
    with django_db_blocker.unblock(), crash_stand() as stand:
        yield stand


@pytest.fixture
def stand(_stand: Stand) -> Iterator[Stand]:
    """A killable database with its own model server; every test ends with the rows in order."""
    yield _stand
    assert _stand.breaches() == []


@pytest.fixture(scope="package")
def survivor(_stand: Stand) -> Iterator[Server]:
    """A server process that no test kills."""
    with _stand.server() as server:
        yield server
        server.process.kill()  # its end is not what is tested


@pytest.fixture
def held_answer(stand: Stand) -> Iterator[None]:
    """The next answer stands still after its first words: something happens in the middle."""
    stand.model.holds_next = True
    yield
    stand.model.go_on()
