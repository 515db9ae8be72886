"""Every test that asks for `ask` runs once over each adapter."""

from __future__ import annotations

from typing import Any

import pytest

from chat.upstream.http import HttpUpstream
from tests.upstream.chats import ADAPTERS, KEY, Ask, asker
from tests.upstream.server import ScriptedServer


@pytest.fixture(params=sorted(ADAPTERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(kind: str, upstream_server: ScriptedServer) -> Ask:
    def make(**options: Any) -> HttpUpstream:
        given = {"base_url": upstream_server.base_url, "api_key": KEY} | options
        return ADAPTERS[kind]("test", **given)

    return asker(make)
