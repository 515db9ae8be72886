"""Clients of the API as people of the world, inside this process."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tenants.authentication import hash_secret
from tenants.models import ApiKey
from tests.world import Company, World

BETA = {"OpenAI-Beta": "assistants=v2"}


@dataclass(kw_only=True)
class Api:
    """A program with a key. `headers` go along with every request."""

    secret: str
    headers: dict[str, str] = field(default_factory=lambda: dict(BETA))
    client: Client = field(default_factory=Client)

    def get(self, path: str, **query: Any) -> Any:
        """Ask for /v1/`path`."""
        return self.client.get(f"/v1/{path}", query, headers=self._headers())

    def post(self, path: str, body: Any = None, **fields: Any) -> Any:
        """Send JSON: an object or raw bytes."""
        body = fields if body is None else body
        return self.client.post(
            f"/v1/{path}", body, content_type="application/json", headers=self._headers()
        )

    def delete(self, path: str) -> Any:
        """Delete /v1/`path`."""
        return self.client.delete(f"/v1/{path}", headers=self._headers())

    def made(self, path: str, body: Any = None, **fields: Any) -> dict[str, Any]:
        """Send JSON and return the object that came back."""
        response = self.post(path, body, **fields)
        assert response.status_code == 200, response.content
        found: dict[str, Any] = response.json()
        return found

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}", **self.headers}


def program_of(company: Company, name: str, **fields: Any) -> Api:
    """Give somebody of the world another key, and return a program that uses it."""
    secret = f"atr_{uuid.uuid4().hex}{uuid.uuid4().hex}"
    with company.scope():
        ApiKey.objects.create(
            membership=company.people[name],
            name="Program",
            prefix=secret[:12],
            secret_hash=hash_secret(secret),
            **{"scopes": ["read", "write", "admin"], **fields},
        )
    return Api(secret=secret)


def assert_error(
    response: Any, status: int, *, param: str | None = None, code: str | None = None
) -> str:
    """Check that this is one error of the API and return its message."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    kind = "server_error" if status >= 500 else "requests" if status == 429 else None
    assert error["type"] == (kind or "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code), error
    return str(error["message"])


@pytest.fixture
def alice(world: World) -> Api:
    """A program of a member of acme."""
    return program_of(world.acme, "alice")


@pytest.fixture
def adam(world: World) -> Api:
    """A program of an admin of acme."""
    return program_of(world.acme, "adam")


@pytest.fixture
def gina(world: World) -> Api:
    """A program of a member of globex."""
    return program_of(world.globex, "gina")


def upload(
    api: Api, data: bytes, name: str = "a.txt", purpose: str = "assistants", **form: str
) -> Any:
    """Send a file and return the response."""
    content = SimpleUploadedFile(name, data)
    return api.client.post(
        "/v1/files",
        {"file": content, "purpose": purpose, **form},
        headers={"Authorization": f"Bearer {api.secret}"} | api.headers,
    )


def uploaded(api: Api, data: bytes, name: str = "a.txt", **form: str) -> dict[str, Any]:
    """Send a file and return its object."""
    response = upload(api, data, name, **form)
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found
