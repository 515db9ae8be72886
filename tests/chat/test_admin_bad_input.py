"""What no form of the admin may choke on."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

import pytest
from django.contrib.admin.utils import quote
from django.test import Client

from tests.world import Company, World

# What would be saved; each field is then replaced by something bad.
FORMS = {
    "chat/assistant/{assistant}/change/": {
        "name": "A",
        "description": "",
        "instructions": "",
        "upstream": "",
        "model": "m",
        "tools": "get_order",
        "suggested_prompts": "Hello",
        "temperature": "1",
        "top_p": "1",
        "reasoning_effort": "",
        "busy_policy": "queue",
        "seen": "{seen}",
    },
    "chat/tenantpolicy/add/": {
        "max_tokens_per_run": "9",
        "max_cost_per_run": "1",
        "approval_tools": "get_order",
    },
    "chat/price/add/": {
        "model": "m",
        "kind": "input_tokens",
        "price": "1",
        "currency": "USD",
    },
    "tenants/membership/{alice}/change/": {"role": "member", "seen": "{seen}"},
    "tenants/invitation/add/": {"email": "new@acme.example", "role": "member"},
    "tenants/apikey/add/": {
        "name": "K",
        "member_id": "{alice}",
        "rights": "read",
        "valid_for": "30",
    },
    "tenants/tenant/{tenant}/change/": {
        "name": "A",
        "color": "#112233",
        "default_assistant": "",
        "seen": "{seen}",
    },
}
BAD = {
    "NUL": b"a\x00b",
    "lone surrogate": b"\xed\xa0\x80",
    "invalid UTF-8": b"\xff\xfe",
    "NaN": b"NaN",
    "infinite": b"1e400",
    "thousands of digits": b"9" * 5000,
    "deep": b"[" * 5000,
    "markup": b"<script>alert(1)</script>",
    "negative": b"-1",
    "nothing": b"",
}


def filled(text: str, company: Company, seen: str = "") -> str:
    return text.format(
        assistant=quote(company.assistant.pk),
        alice=company.alice.pk,
        tenant=company.tenant.pk,
        seen=seen,
    )


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("form", FORMS)
def test_bad_values_are_an_error_of_the_form(world: World, form: str, bad: str) -> None:
    client = world.acme.client("olga")
    for field in FORMS[form]:
        page = client.get("/admin/" + filled(form, world.acme), follow=True)
        seen = str(page.context["adminform"].form["seen"].value() or "")
        values = {
            name: filled(text, world.acme, seen).encode() for name, text in FORMS[form].items()
        }
        values[field] = BAD[bad]
        body = "&".join(f"{name}={quote_from_bytes(value)}" for name, value in values.items())
        response = client.post(
            "/admin/" + filled(form, world.acme),
            body,
            content_type="application/x-www-form-urlencoded",
        )
        assert response.status_code in (200, 302), field
        assert "<script>alert" not in response.content.decode()


@pytest.mark.parametrize("bad", BAD)
def test_bad_values_are_an_error_of_the_operators_forms(world: World, bad: str) -> None:
    client = world.operator_client()
    value = quote_from_bytes(BAD[bad])
    for path, fields in (
        ("add/", f"name={value}&slug={value}&email={value}"),
        ("reset-link/", f"reset-email={value}"),
    ):
        response = client.post(
            f"/admin/companies/{path}", fields, content_type="application/x-www-form-urlencoded"
        )
        assert response.status_code == 200
        assert "<script>alert" not in response.content.decode()


def test_a_body_that_is_no_form_is_refused_plainly(world: World) -> None:
    client: Client = world.acme.client("olga")
    for body, kind in ((b"{", "application/json"), (b"--x", "multipart/form-data")):
        response = client.post("/admin/chat/price/add/", body, content_type=kind)
        assert response.status_code in (200, 400)
