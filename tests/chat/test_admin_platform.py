"""The operator's pages: companies, going inside one, and links for lost passwords."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tenants.models import AuditEvent
from tests.world import World


@pytest.fixture
def operator(world: World) -> Client:
    return world.operator_client()


def test_the_operator_begins_with_the_companies(operator: Client) -> None:
    response = operator.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0] == "/admin/companies/"
    text = response.content.decode()
    assert "acme" in text
    assert "globex" in text


def test_outside_a_company_its_pages_are_closed(operator: Client) -> None:
    for page in ("chat/assistant", "chat/thread", "tenants/membership", "tenants/auditevent"):
        assert operator.get(f"/admin/{page}/").status_code == 403


def test_entering_is_recorded_and_shown_on_every_page(world: World, operator: Client) -> None:
    operator.post(f"/admin/companies/{world.acme.tenant.pk}/enter/")
    for url in ("/admin/", "/admin/chat/assistant/", "/admin/companies/"):
        assert "as an operator" in operator.get(url).content.decode()
    with world.acme.scope():
        assert AuditEvent.objects.filter(action="operator.entered").exists()


def test_inside_one_company_nothing_of_another_shows(world: World, operator: Client) -> None:
    operator.post(f"/admin/companies/{world.acme.tenant.pk}/enter/")
    for page in ("chat/assistant", "chat/run", "tenants/membership", "tenants/auditevent"):
        text = operator.get(f"/admin/{page}/").content.decode()
        assert world.globex.canary not in text


def test_the_operator_reads_no_chats_the_company_keeps_private(
    world: World, operator: Client
) -> None:
    operator.post(f"/admin/companies/{world.acme.tenant.pk}/enter/")
    for page in ("thread", "message"):
        text = operator.get(f"/admin/chat/{page}/").content.decode()
        assert f"{world.acme.canary}ALICE-" not in text


def test_leaving_closes_the_pages_again(world: World, operator: Client) -> None:
    operator.post(f"/admin/companies/{world.acme.tenant.pk}/enter/")
    operator.post("/admin/companies/leave/")
    assert operator.get("/admin/chat/assistant/").status_code == 403


def test_suspending_shuts_everybody_out_and_resuming_lets_them_in(
    world: World, operator: Client
) -> None:
    admin = world.acme.client("adam")
    operator.post(f"/admin/companies/{world.acme.tenant.pk}/suspend/")
    assert admin.get("/admin/").status_code != 200
    operator.post(f"/admin/companies/{world.acme.tenant.pk}/resume/")
    assert admin.get("/admin/").status_code == 200


def test_a_new_company_comes_with_a_link_for_its_first_owner(operator: Client) -> None:
    data = {"name": "Initech", "slug": "initech", "email": "bill@initech.example"}
    response = operator.post("/admin/companies/add/", data)
    assert re.search(r"/invitations/[\w-]+/", response.content.decode())
    assert "Initech" in operator.get("/admin/companies/").content.decode()


def test_a_short_name_that_is_taken_is_said_at_its_field(operator: Client) -> None:
    response = operator.post("/admin/companies/add/", {"name": "Acme", "slug": "acme"})
    assert response.status_code == 200
    assert response.context["form"].errors["slug"]


def test_a_link_for_a_lost_password_is_shown_once(world: World, operator: Client) -> None:
    response = operator.post(
        "/admin/companies/reset-link/", {"reset-email": world.acme.alice.email}
    )
    assert "/accounts/password/reset/key/" in response.content.decode()
    assert "no-store" in response["Cache-Control"]


def test_an_unknown_address_is_said_to_the_operator(operator: Client) -> None:
    response = operator.post(
        "/admin/companies/reset-link/", {"reset-email": "nobody@nowhere.example"}
    )
    assert "No account" in response.content.decode()
