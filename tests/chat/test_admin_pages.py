"""The admin's pages: what they say, what they write, and who may read what."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django import Settings

from chat.models import Assistant, Run, RunStep, Thread, Usage
from chat.upstream.base import Capabilities
from tenants import audit
from tenants.actions import act_for_user, create_api_key, update_tenant_settings
from tenants.authentication import authenticate_key
from tenants.models import ApiKey, AuditEvent, Invitation, Membership, Role, Tenant
from tests.world import Company, World

ASSISTANTS = "/admin/chat/assistant/"


@pytest.fixture
def acme(world: World) -> Company:
    return world.acme


@pytest.fixture
def admin(acme: Company) -> Client:
    return acme.client("adam")


@pytest.fixture
def owner(acme: Company) -> Client:
    return acme.client("olga")


def assistant_data(**changes: str) -> dict[str, str]:
    return {
        "name": "Returns desk",
        "description": "",
        "instructions": "Be kind.",
        "upstream": "demo",
        "model": "demo-scripted",
        "suggested_prompts": "How do I return a tent?\n\n  What is the deadline?  ",
        "busy_policy": "queue",
        "enabled": "on",
        **changes,
    }


def page_of(row: Any, page: str = "change") -> str:
    label = row._meta
    return f"/admin/{label.app_label}/{label.model_name}/{quote(row.pk)}/{page}/"


def save(client: Client, row: Any, data: dict[str, Any]) -> Any:
    """Open the page of a row and save the form with this data."""
    form = client.get(page_of(row)).context["adminform"].form
    return client.post(page_of(row), {**data, "seen": form["seen"].value()})


def test_an_assistant_is_added_through_the_form(acme: Company, admin: Client) -> None:
    response = admin.post(f"{ASSISTANTS}add/", assistant_data())
    assert response.status_code == 302
    with acme.scope():
        made = Assistant.objects.get(name="Returns desk")
        assert AuditEvent.objects.filter(action="assistant.created", subject=made.pk).exists()
    assert made.suggested_prompts == ["How do I return a tent?", "What is the deadline?"]


def test_what_the_action_refuses_stands_at_its_field(acme: Company, admin: Client) -> None:
    data = assistant_data(suggested_prompts="x" * 301)
    response = admin.post(f"{ASSISTANTS}add/", data)
    assert response.status_code == 200
    assert response.context["adminform"].form.errors["suggested_prompts"]
    with acme.scope():
        assert not Assistant.objects.filter(name="Returns desk").exists()


def test_an_assistant_is_deleted_through_the_action(acme: Company, admin: Client) -> None:
    admin.post(page_of(acme.assistant, "delete"), {"post": "yes"})
    with acme.scope():
        assert not Assistant.objects.exists()
        assert AuditEvent.objects.filter(action="assistant.deleted").exists()


def test_the_demonstration_is_named_as_no_language_model(admin: Client) -> None:
    text = admin.get(f"{ASSISTANTS}add/").content.decode()
    assert "demonstration, not a language model" in text


def test_a_connection_test_says_what_it_found(
    acme: Company, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def probe(name: str, model: str) -> Capabilities:
        return Capabilities(models=("demo-scripted", "another-model"), tools=True)

    monkeypatch.setattr("chat.admin.offered_models._probe", probe)
    response = admin.post(page_of(acme.assistant, "do/test"), follow=True)
    assert "demo answers with demo-scripted. Tools are supported." in response.content.decode()
    assert "another-model" in response.content.decode()


def test_the_real_demonstration_answers_the_test(acme: Company, admin: Client) -> None:
    response = admin.post(page_of(acme.assistant, "do/test"), follow=True)
    assert "demo answers with demo-scripted" in response.content.decode()


def test_lists_count_answers_and_failures(acme: Company, admin: Client) -> None:
    with acme.scope():
        Run.objects.filter(thread=acme.threads["bob"]).update(
            status="failed", reason="server_error"
        )
    text = admin.get(ASSISTANTS).content.decode()
    counts = re.findall(r"field-(?:answers|failures)[^>]*>\s*(\d+)", text)
    assert counts == ["2", "1"]


def test_admins_do_not_read_members_chats_by_default(acme: Company, owner: Client) -> None:
    for page in ("thread", "message"):
        text = owner.get(f"/admin/chat/{page}/").content.decode()
        assert f"{acme.canary}ALICE-" not in text
        assert "Admins cannot read" in text
    hidden = owner.get(page_of(acme.threads["alice"]), follow=True).content.decode()
    assert f"{acme.canary}ALICE-" not in hidden


def test_the_trace_hides_what_was_written_by_default(acme: Company, owner: Client) -> None:
    text = owner.get(page_of(acme.runs["alice"])).content.decode()
    assert "get_order" in text
    assert "ARGUMENT" not in text
    assert "OUTPUT" not in text


@pytest.fixture
def readable(acme: Company) -> None:
    with acme.scope():
        update_tenant_settings(acme.principal("olga"), admins_read_threads=True)


def test_admins_read_chats_where_the_company_says_so(
    acme: Company, owner: Client, readable: None
) -> None:
    text = owner.get(page_of(acme.threads["alice"])).content.decode()
    assert f"{acme.canary}ALICE-USER" in text
    assert f"{acme.canary}ALICE-ASSISTANT" in text


def test_the_trace_shows_arguments_before_and_after_binding(
    acme: Company, owner: Client, readable: None
) -> None:
    text = owner.get(page_of(acme.runs["alice"])).content.decode()
    assert text.count(f"{acme.canary}ALICE-ARGUMENT") == 2
    assert f"{acme.canary}ALICE-OUTPUT" in text


def test_deleted_chats_are_not_shown(acme: Company, owner: Client, readable: None) -> None:
    with acme.scope():
        Thread.objects.update(deleted_at=acme.threads["alice"].created_at)
    assert f"{acme.canary}ALICE-" not in owner.get("/admin/chat/thread/").content.decode()


def test_an_admin_changes_a_role(acme: Company, admin: Client) -> None:
    save(admin, acme.alice, {"role": "admin"})
    with acme.scope():
        assert Membership.objects.get(pk=acme.alice.pk).role == Role.ADMIN


def test_an_admin_cannot_make_an_owner(acme: Company, admin: Client) -> None:
    response = save(admin, acme.alice, {"role": "owner"})
    assert response.status_code == 200
    with acme.scope():
        assert Membership.objects.get(pk=acme.alice.pk).role == Role.MEMBER


def test_the_last_owner_stays(acme: Company, owner: Client) -> None:
    response = save(owner, acme.olga, {"role": "member"})
    assert "at least one owner" in response.content.decode()
    response = owner.post(page_of(acme.olga, "delete"), {"post": "yes"}, follow=True)
    assert "at least one owner" in response.content.decode()
    with acme.scope():
        assert Membership.objects.get(pk=acme.olga.pk).removed_at is None


@pytest.mark.parametrize(
    ("button", "is_done"),
    [
        ("disable", lambda member: member.disabled_at is not None),
        ("sign-out", lambda member: member.signed_out_at is not None),
    ],
)
def test_buttons_do_what_they_say(
    acme: Company, admin: Client, button: str, is_done: Callable[[Membership], bool]
) -> None:
    admin.post(page_of(acme.alice, f"do/{button}"))
    with acme.scope():
        assert is_done(Membership.objects.get(pk=acme.alice.pk))


def test_buttons_do_nothing_by_get(acme: Company, admin: Client) -> None:
    assert admin.get(page_of(acme.alice, "do/disable")).status_code == 405


def test_removing_a_member_keeps_their_chats(acme: Company, admin: Client) -> None:
    admin.post(page_of(acme.alice, "delete"), {"post": "yes"})
    with acme.scope():
        assert Membership.objects.get(pk=acme.alice.pk).removed_at is not None
        assert Thread.objects.filter(pk=acme.threads["alice"].pk).exists()


def test_an_invitations_link_is_shown_once(acme: Company, admin: Client) -> None:
    data = {"email": "new@acme.example", "role": "member"}
    response = admin.post("/admin/tenants/invitation/add/", data)
    link = re.search(r"/invitations/[\w-]+/", response.content.decode())
    assert link is not None
    assert "no-store" in response["Cache-Control"]
    with acme.scope():
        made = Invitation.objects.get(email="new@acme.example")
    again = admin.get(page_of(made)).content.decode()
    assert link[0] not in again


def test_an_invitation_is_mailed_where_mail_is_set_up(
    admin: Client, settings: Settings, mailoutbox: list[EmailMessage]
) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    data = {"email": "new@acme.example", "role": "member"}
    page = admin.post("/admin/tenants/invitation/add/", data).content.decode()
    (mail,) = mailoutbox
    assert mail.to == ["new@acme.example"]
    assert re.search(r"http\S+/invitations/[\w-]+/", str(mail.body))
    # Whoever has the link passes for the person invited: it goes to the mailbox alone.
    assert "/invitations/" not in page.replace("/admin/tenants/invitation", "")


def test_nothing_is_mailed_otherwise(admin: Client, mailoutbox: list[EmailMessage]) -> None:
    admin.post("/admin/tenants/invitation/add/", {"email": "new@acme.example", "role": "member"})
    assert mailoutbox == []


def key_form(**changes: object) -> dict[str, object]:
    return {"name": "Import", "member_id": "new", "rights": ["read"], "valid_for": "30", **changes}


def test_a_keys_secret_is_shown_once(acme: Company, owner: Client) -> None:
    response = owner.post("/admin/tenants/apikey/add/", key_form())
    secret = re.search(r"atr_\w{40,}", response.content.decode())
    assert secret is not None
    with acme.scope():
        key = ApiKey.objects.select_related("membership").get(name="Import")
    assert (key.membership.kind, key.membership.name) == ("program", "Import")
    assert secret[0] not in owner.get(page_of(key)).content.decode()


def test_a_second_key_of_a_program_is_made(acme: Company, owner: Client) -> None:
    owner.post("/admin/tenants/apikey/add/", key_form())
    with acme.scope():
        program = Membership.objects.get(kind="program")
    owner.post("/admin/tenants/apikey/add/", key_form(name="Spare", member_id=str(program.pk)))
    with acme.scope():
        assert set(ApiKey.objects.filter(membership=program).values_list("name", flat=True)) == {
            "Import",
            "Spare",
        }


def test_admins_make_keys_of_their_own_and_of_no_program(
    acme: Company, admin: Client, owner: Client
) -> None:
    owner.post("/admin/tenants/apikey/add/", key_form(name="Shop", rights=["read", "admin"]))
    with acme.scope():
        program = Membership.objects.get(kind="program")
    assert "Shop" not in admin.get("/admin/tenants/apikey/add/").content.decode()
    for member in ("new", str(program.pk), str(acme.adam.pk)):
        admin.post("/admin/tenants/apikey/add/", key_form(member_id=member))
    with acme.scope():
        made = ApiKey.objects.filter(name="Import")
        assert [key.membership_id for key in made] == [acme.adam.pk]


def test_owners_and_admins_make_no_keys_of_other_people(
    acme: Company, admin: Client, owner: Client
) -> None:
    for client in (admin, owner):
        form = key_form(member_id=str(acme.bob.pk))
        assert client.post("/admin/tenants/apikey/add/", form).status_code == 200
    with acme.scope():
        assert not ApiKey.objects.filter(name="Import").exists()


def test_users_of_programs_are_listed_where_they_are_asked_for(
    acme: Company, admin: Client
) -> None:
    _key, secret = create_api_key(
        acme.principal("olga"), name="Shop", program="Shop", scopes=["act_for_users"]
    )
    act_for_user(authenticate_key(secret), "customer-77")
    usual = admin.get("/admin/tenants/membership/").content.decode()
    asked = admin.get("/admin/tenants/membership/?kind=external").content.decode()
    assert "Shop" in usual
    assert ("customer-77" in usual, "customer-77" in asked) == (False, True)


def test_company_settings_are_one_form(acme: Company, admin: Client) -> None:
    response = admin.get("/admin/tenants/tenant/", follow=True)
    assert response.redirect_chain[-1][0] == page_of(acme.tenant)
    data = {"name": "Acme Outdoor", "color": "#aa5500", "default_assistant": acme.assistant.pk}
    save(admin, acme.tenant, data)
    with acme.scope():
        tenant = Tenant.objects.get()
    assert (tenant.name, tenant.color) == ("Acme Outdoor", "#aa5500")


def test_limits_are_set_by_owners_only(acme: Company, admin: Client, owner: Client) -> None:
    assert admin.get("/admin/chat/tenantpolicy/add/").status_code == 403
    owner.post("/admin/chat/tenantpolicy/add/", {"max_tokens_per_run": "9000"})
    text = owner.get("/admin/chat/tenantpolicy/", follow=True).content.decode()
    assert 'value="9000"' in text


def test_the_overview_counts_answers_and_says_why_some_failed(acme: Company, admin: Client) -> None:
    with acme.scope():
        Run.objects.filter(thread=acme.threads["bob"]).update(
            status="failed", reason="upstream_timeout"
        )
    response = admin.get("/admin/")
    assert response.context["answers"]["today"] == 2
    assert response.context["answers"]["failed"] == 1
    assert "The model server timed out" in response.content.decode()


def test_the_audit_log_shows_what_was_done(acme: Company, admin: Client) -> None:
    admin.post(page_of(acme.alice, "do/disable"))
    text = admin.get("/admin/tenants/auditevent/").content.decode()
    assert "member.disabled" in text
    assert "member.disabled" in admin.get(page_of(acme.alice, "history")).content.decode()


def test_the_trace_tells_failed_requests_and_their_cost(acme: Company, owner: Client) -> None:
    run = acme.runs["alice"]
    with acme.scope():
        for call, outcome in (("one", "failed"), ("two", "used")):
            Usage.objects.create(
                member=acme.alice,
                run=run,
                call=call,
                outcome=outcome,
                model="m",
                kind="output_tokens",
                quantity=1000,
                unit="token",
                price=Decimal("0.000002"),
                currency="USD",
            )
    requests = owner.get(page_of(run)).context["requests"]
    assert [request["failed"] for request in requests] == [False, True, False]
    assert requests[2]["cost"] == "0.0020 USD"


@pytest.mark.parametrize("may_read", [False, True])
def test_a_tools_arguments_in_the_log_are_as_private_as_the_chat(
    acme: Company, owner: Client, may_read: bool
) -> None:
    with acme.scope():
        update_tenant_settings(acme.principal("olga"), admins_read_threads=may_read)
        audit.record(acme.principal("alice"), "tool.attempted", arguments={"to": "Elm Street 5"})
        event = AuditEvent.objects.get(action="tool.attempted")
    text = owner.get(page_of(event)).content.decode()
    assert ("Elm Street 5" in text) == may_read


def test_the_trace_says_what_was_sent(acme: Company, owner: Client) -> None:
    with acme.scope():
        RunStep.objects.filter(run=acme.runs["alice"]).update(
            sent={"older_left_out": True, "tools": ["get_order", "list_orders"]}
        )
    text = owner.get(page_of(acme.runs["alice"])).content.decode()
    assert "older messages omitted</dt><dd>yes" in re.sub(r">\s+<", "><", text)
    assert "get_order, list_orders" in text


def test_markup_in_names_is_text(acme: Company, admin: Client, readable: None) -> None:
    with acme.scope():
        Assistant.objects.update(name="<img src=x onerror=alert(1)>", description="<script>")
        Thread.objects.update(title="<script>alert(1)</script>")
    for url in (ASSISTANTS, "/admin/chat/thread/", page_of(acme.threads["alice"])):
        text = admin.get(url).content.decode()
        assert "<img src=x" not in text
        assert "<script>alert" not in text


@pytest.mark.parametrize(
    "question",
    ["?q=%00", "?status__exact=%00", "?p=99999999999999999999", "?o=x.y", "?nonsense=1", "?e=1"],
)
def test_odd_questions_are_no_server_error(admin: Client, question: str) -> None:
    for page in ("chat/run", "chat/assistant", "tenants/auditevent"):
        assert admin.get(f"/admin/{page}/{question}").status_code < 500


@pytest.mark.parametrize("odd", ["%00", "x" * 3000, "..", "1e400", "9" * 5000])
def test_odd_ids_are_no_server_error(admin: Client, odd: str) -> None:
    for page in ("chat/run", "chat/usage", "tenants/membership"):
        assert admin.get(f"/admin/{page}/{odd}/change/", follow=True).status_code < 500


def test_only_the_admin_is_allowed_eval_and_inline_styles(admin: Client) -> None:
    policy = admin.get("/admin/")["Content-Security-Policy"]
    directives = {part.split()[0]: part.split()[1:] for part in policy.split("; ")}
    assert sorted(directives["script-src"]) == ["'self'", "'unsafe-eval'"]
    assert sorted(directives["style-src"]) == ["'self'", "'unsafe-inline'"]
    assert directives["default-src"] == ["'none'"]


def test_no_page_has_an_inline_script(admin: Client, acme: Company) -> None:
    for url in ("/admin/", ASSISTANTS, page_of(acme.assistant), page_of(acme.runs["bob"])):
        text = admin.get(url).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"\son(click|load|error|change)=", text)
