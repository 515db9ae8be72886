"""Admins who read members' chats: in periods that stay, on record, and seen by the member."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.db import ProgrammingError, connection
from django.test import Client
from django.utils import timezone

from chat.models import Message, Run, ToolCall
from chat.tools import ledger
from tenants import audit
from tenants.actions import acknowledge_reading, update_tenant_settings
from tenants.authentication import get_console_principal
from tenants.errors import NotAllowed
from tenants.models import AuditEvent, Membership
from tenants.reading_periods import ReadingPeriod
from tests.chat.test_admin_pages import save
from tests.database import TestDatabase
from tests.world import Company, World


@pytest.fixture
def acme(world: World) -> Company:
    return world.acme


def switch(company: Company, *, on: bool) -> None:
    update_tenant_settings(company.principal("olga"), admins_read_threads=on)


@pytest.fixture
def readable(acme: Company) -> None:
    switch(acme, on=True)


def readings(company: Company, name: str = "alice") -> list[AuditEvent]:
    """Return what is recorded of readings of a member's chats, oldest first."""
    with company.scope():
        found = AuditEvent.objects.all().readings_of(company.people[name].pk)
        return list(found)[::-1]


def page_of(row: Any, page: str = "change") -> str:
    label = f"{row._meta.app_label}/{row._meta.model_name}"
    return f"/admin/{label}/{quote(str(row.pk))}/{page}/"


def periods(company: Company) -> list[ReadingPeriod]:
    with company.scope():
        return list(ReadingPeriod.objects.order_by("started_at"))


@pytest.mark.parametrize("on", [True, False])
def test_admins_do_not_decide_who_reads_chats(acme: Company, on: bool) -> None:
    if not on:
        switch(acme, on=True)
    with pytest.raises(NotAllowed):
        update_tenant_settings(acme.principal("adam"), admins_read_threads=on)
    assert [period.ended_at for period in periods(acme)] == ([] if on else [None])


def test_the_form_of_admins_shows_the_setting_and_cannot_change_it(acme: Company) -> None:
    admin, owner = acme.client("adam"), acme.client("olga")
    assert 'name="admins_read_threads"' not in admin.get(page_of(acme.tenant)).content.decode()
    assert 'name="admins_read_threads"' in owner.get(page_of(acme.tenant)).content.decode()
    form = {"name": "A", "color": "#112233", "default_assistant": "", "admins_read_threads": "on"}
    assert save(admin, acme.tenant, form).status_code == 302
    assert periods(acme) == []
    assert save(owner, acme.tenant, form).status_code == 302
    assert len(periods(acme)) == 1
    assert save(admin, acme.tenant, {**form, "admins_read_threads": ""}).status_code == 302
    assert periods(acme)[0].ended_at is None


def test_switching_off_keeps_when_and_who(acme: Company) -> None:
    before = timezone.now()
    switch(acme, on=True)
    between = timezone.now()
    switch(acme, on=False)
    switch(acme, on=True)
    first, second = periods(acme)
    assert first.ended_at is not None
    assert before <= first.started_at <= between <= first.ended_at <= second.started_at
    assert first.started_by_id == first.ended_by_id == acme.olga.pk
    assert second.ended_at is None


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM tenants_readingperiod",
        "TRUNCATE tenants_readingperiod",
        "UPDATE tenants_readingperiod SET started_at = now()",
        "UPDATE tenants_readingperiod SET started_by = ''",
    ],
)
def test_the_application_cannot_rewrite_a_period(
    acme: Company, readable: None, statement: str
) -> None:
    with pytest.raises(ProgrammingError), acme.scope(), connection.cursor() as cursor:
        cursor.execute(statement)


def notice(client: Client) -> tuple[str, str] | None:
    """Return the notice's text, and the moment that acknowledges it; None without a notice."""
    page = client.get("/").content.decode()
    found = re.search(
        r'id="reading-notice".*?data-through="([^"]+)".*?<ul>(.*?)</ul>', page, re.DOTALL
    )
    return (found[2], found[1]) if found else None


def acknowledge(client: Client, through: str) -> int:
    answer = client.post(
        "/page/reading/acknowledge", {"through": through}, content_type="application/json"
    )
    return answer.status_code


def test_members_are_told_until_they_acknowledge(acme: Company) -> None:
    client = acme.client("alice")
    assert notice(client) is None
    switch(acme, on=True)
    first = notice(client)
    assert first is not None and "can read your chats" in first[0]
    assert acknowledge(client, first[1]) == 200
    assert notice(client) is None
    switch(acme, on=False)
    second = notice(client)
    assert second is not None and "could read your chats" in second[0]
    assert acknowledge(client, second[1]) == 200
    assert notice(client) is None


def test_an_open_page_learns_of_each_change(acme: Company) -> None:
    client = acme.client("alice")

    def readers() -> dict[str, Any]:
        answer = client.get("/page/readers")
        assert answer.status_code == 200
        told: dict[str, Any] = answer.json()
        return told

    before = readers()
    assert before["line"] == "Only you can read your chats."
    assert (before["can_read"], before["notice"], before["through"]) == (False, [], "")
    switch(acme, on=True)
    during = readers()
    assert during["can_read"] and "company admins can read" in during["line"]
    assert ["can read your chats" in sentence for sentence in during["notice"]] == [True]
    assert acknowledge(client, during["through"]) == 200
    assert (readers()["can_read"], readers()["notice"]) == (True, [])
    switch(acme, on=False)
    after = readers()
    assert not after["can_read"] and "admins could read them." in after["line"]
    assert ["could read your chats" in sentence for sentence in after["notice"]] == [True]


def test_a_period_that_began_and_ended_unseen_is_told(acme: Company) -> None:
    switch(acme, on=True)
    switch(acme, on=False)
    told = notice(acme.client("alice"))
    assert told is not None and "From" in told[0]


def test_a_change_after_the_page_was_drawn_is_not_acknowledged_with_it(acme: Company) -> None:
    client = acme.client("alice")
    switch(acme, on=True)
    drawn = notice(client)
    switch(acme, on=False)
    assert drawn is not None and acknowledge(client, drawn[1]) == 200
    assert notice(client) is not None


def test_one_member_acknowledges_for_nobody_else(acme: Company, readable: None) -> None:
    told = notice(acme.client("alice"))
    assert told is not None
    acknowledge(acme.client("alice"), told[1])
    assert notice(acme.client("bob")) is not None


def test_who_joins_later_is_told_of_an_open_period_and_of_no_ended_one(acme: Company) -> None:
    switch(acme, on=True)
    switch(acme, on=False)
    with acme.scope():
        Membership.objects.filter(pk=acme.alice.pk).update(created_at=timezone.now())
    assert notice(acme.client("alice")) is None
    switch(acme, on=True)
    with acme.scope():
        Membership.objects.filter(pk=acme.alice.pk).update(created_at=timezone.now())
    assert notice(acme.client("alice")) is not None


@pytest.mark.parametrize("through", ["", "soon", "2026-13-01T00:00:00Z", "2026-12-01T00:00:00"])
def test_a_moment_that_is_none_is_refused(acme: Company, readable: None, through: str) -> None:
    assert acknowledge(acme.client("alice"), through) == 400
    assert notice(acme.client("alice")) is not None


def test_nothing_is_acknowledged_in_advance(acme: Company) -> None:
    client = acme.client("alice")
    assert acknowledge(client, (timezone.now() + timedelta(days=9)).isoformat()) == 200
    switch(acme, on=True)
    assert notice(client) is not None


def test_programs_acknowledge_nothing(acme: Company, readable: None) -> None:
    program = acme.client("alice")
    program.cookies.clear()
    headers = {"Authorization": f"Bearer {acme.key_secrets['alice']}"}
    answer = program.post(
        "/page/reading/acknowledge", {}, content_type="application/json", headers=headers
    )
    assert answer.status_code == 403
    with pytest.raises(NotAllowed):
        acknowledge_reading(get_console_principal("acme"), through=timezone.now())


def test_afterwards_page_and_profile_say_from_when_to_when(acme: Company) -> None:
    switch(acme, on=True)
    switch(acme, on=False)
    client = acme.client("alice")
    page = client.get("/").content.decode()
    assert "Only you can read your chats." in page
    assert "admins could read them." in page
    profile = client.get("/profile/").content.decode()
    assert "admins could read your chats." in profile
    assert acme.olga.name in profile
    assert "No admin has opened any of your chats." in profile


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (0, "On Jan. 2, 2126, admins could read them."),
        (1, "From Jan. 2, 2126 to Jan. 3, 2126, admins could read them."),
    ],
)
def test_a_period_within_one_day_is_told_as_that_day(acme: Company, days: int, words: str) -> None:
    began = datetime(2126, 1, 2, 9, tzinfo=UTC)
    with acme.scope():
        ReadingPeriod.objects.create(
            started_at=began, ended_at=began + timedelta(days=days, hours=2)
        )
    assert words in acme.client("alice").get("/").content.decode()


def test_each_page_that_shows_a_chat_is_recorded(acme: Company, readable: None) -> None:
    admin = acme.client("adam")
    thread, run = acme.threads["alice"], acme.runs["alice"]
    with acme.scope():
        message = Message.objects.get(thread=thread, position=1)
        audit.record(acme.principal("alice"), "tool.attempted", run=run.pk, arguments={"to": "x"})
        event = AuditEvent.objects.get(action="tool.attempted")
    for row in (thread, message, run, event):
        assert admin.get(page_of(row)).status_code == 200
    admin.get(page_of(thread, "history"))
    seen = readings(acme)
    assert [item.action for item in seen] == ["chat.opened"] * 5
    assert {item.subject for item in seen} == {thread.pk}
    assert {item.actor_id for item in seen} == {acme.adam.pk}
    assert [item.data["page"] for item in seen] == [
        "thread",
        "message",
        "run",
        "auditevent",
        "history",
    ]
    assert readings(acme, "bob") == []


@pytest.mark.parametrize("page", ["thread", "message"])
def test_lists_record_whose_texts_they_show(acme: Company, readable: None, page: str) -> None:
    acme.client("adam").get(f"/admin/chat/{page}/")
    for name in ("alice", "bob"):
        (seen,) = readings(acme, name)
        assert (seen.action, seen.data["threads"]) == ("chat.listed", [acme.threads[name].pk])


def test_a_search_records_only_what_it_shows(acme: Company, readable: None) -> None:
    acme.client("adam").get("/admin/chat/thread/?q=ALICE")
    assert len(readings(acme)) == 1
    assert readings(acme, "bob") == []


def test_nothing_is_recorded_where_nothing_is_shown(acme: Company) -> None:
    admin = acme.client("adam")
    for url in (
        page_of(acme.threads["alice"]),
        page_of(acme.runs["alice"]),
        "/admin/chat/thread/",
        "/admin/chat/message/",
        "/admin/chat/run/",
    ):
        admin.get(url, follow=True)
    assert readings(acme) == []


def test_ones_own_chat_is_opened_by_nobody_else(acme: Company, readable: None) -> None:
    with acme.scope():
        Membership.objects.filter(pk=acme.alice.pk).update(role="admin")
    acme.client("alice").get(page_of(acme.threads["alice"]))
    assert readings(acme) == []


def test_an_operator_inside_is_recorded_too(world: World, readable: None) -> None:
    operator = world.operator_client()
    operator.post(f"/admin/companies/{world.acme.tenant.pk}/enter/")
    operator.get(page_of(world.acme.threads["alice"]))
    (seen,) = readings(world.acme)
    assert seen.actor == "operator operator@atrium.example"


def test_the_member_sees_who_opened_which_chat(acme: Company, readable: None) -> None:
    acme.client("adam").get(page_of(acme.threads["alice"]))
    acme.client("olga").get("/admin/chat/thread/")
    profile = acme.client("alice").get("/profile/").content.decode()
    assert f"{acme.adam.name} · opened" in profile
    assert f"{acme.olga.name} · saw in a list" in profile
    link = f'<a href="/threads/{acme.threads["alice"].pk}">{acme.canary}ALICE-TITLE</a>'
    assert profile.count(link) == 2
    # The other member saw her own line alone.
    other = acme.client("bob").get("/profile/").content.decode()
    assert "· opened" not in other
    assert acme.threads["alice"].pk not in other


@pytest.mark.parametrize("action", ["tool.attempted", "tool.approved", "tool.declined"])
def test_hashes_of_hidden_arguments_are_hidden(acme: Company, action: str) -> None:
    hashed = hashlib.sha256(b'{"order_number": 1043}').hexdigest()
    with acme.scope():
        audit.record(acme.principal("alice"), action, arguments_hash=hashed)
        event = AuditEvent.objects.get(action=action)
    owner = acme.client("olga")
    assert hashed not in owner.get(page_of(event)).content.decode()
    switch(acme, on=True)
    assert hashed in owner.get(page_of(event)).content.decode()


def test_a_hash_of_arguments_cannot_be_reproduced(world: World) -> None:
    raw = '{"order_number": 1043}'
    runs = [world.acme.runs["alice"], world.acme.runs["bob"], world.globex.runs["gina"]]
    hashes = [ledger.hash_arguments(run, raw) for run in runs]
    assert len({*hashes, hashlib.sha256(raw.encode()).hexdigest()}) == 4
    assert hashes[0] == ledger.hash_arguments(runs[0], raw)


def test_arguments_are_recognised_after_a_new_key_came_first(acme: Company, settings: Any) -> None:
    with acme.scope():
        call = ToolCall.objects.get(run=acme.runs["alice"])
        call.arguments_hash = ledger.hash_arguments(acme.runs["alice"], call.arguments)
    assert ledger.has_valid_arguments_hash(call)
    former = settings.SALT_KEY
    settings.SALT_KEY = ["z" * 50, *former]
    assert ledger.has_valid_arguments_hash(call)
    settings.SALT_KEY = ["z" * 50]
    assert not ledger.has_valid_arguments_hash(call)


def test_the_forms_own_mark_of_a_row_is_no_hash_of_hidden_columns(acme: Company) -> None:
    with acme.scope():
        audit.record(acme.principal("alice"), "tool.attempted", arguments={"number": 1043})
        event = AuditEvent.objects.get(action="tool.attempted")
    values = [repr(getattr(event, field.attname)) for field in event._meta.concrete_fields]
    plain = hashlib.sha256("\n".join(values).encode()).hexdigest()
    assert plain[:32] not in acme.client("olga").get(page_of(event)).content.decode()


@pytest.fixture
def migrating(acme: Company, database: TestDatabase) -> Any:
    """The owner's connection with the column that the migration reads; all is rolled back."""
    database.owner.execute("BEGIN")
    try:
        database.owner.execute(
            "ALTER TABLE tenants_tenant ADD COLUMN admins_read_threads_since timestamptz"
        )
        yield database.owner
    finally:
        database.owner.execute("ROLLBACK")


def migrated(owner: Any, company: Company) -> list[tuple[Any, ...]]:
    for statement in import_module("tenants.migrations.0007_reading_history").STATEMENTS:
        owner.execute(statement)
    rows: list[tuple[Any, ...]] = owner.execute(
        "SELECT started_at, started_by, ended_at, ended_by FROM tenants_readingperiod "
        "WHERE tenant_id = %s ORDER BY started_at",
        [company.tenant.pk],
    ).fetchall()
    return rows


def change(owner: Any, company: Company, *, on: bool, day: int) -> Any:
    (moment,) = owner.execute("SELECT timestamptz '2026-01-01' + make_interval(days => %s)", [day])
    owner.execute(
        "INSERT INTO tenants_auditevent (id, tenant_id, created_at, actor, action, subject, data) "
        "VALUES (gen_random_uuid(), %s, %s, 'Ines', 'tenant.changed', 'acme', %s)",
        [company.tenant.pk, moment[0], f'{{"admins_read_threads": {str(on).lower()}}}'],
    )
    return moment[0]


def test_periods_are_migrated_from_the_audit_log(migrating: Any, acme: Company) -> None:
    days = [change(migrating, acme, on=on, day=day) for day, on in enumerate([True, False, True])]
    migrating.execute(
        "UPDATE tenants_tenant SET admins_read_threads = true, admins_read_threads_since = %s "
        "WHERE id = %s",
        [days[2], acme.tenant.pk],
    )
    assert migrated(migrating, acme) == [
        (days[0], "Ines", days[1], "Ines"),
        (days[2], "Ines", None, ""),
    ]


@pytest.mark.parametrize("on", [True, False])
def test_periods_without_a_trail_are_migrated_from_the_setting(
    migrating: Any, acme: Company, on: bool
) -> None:
    migrating.execute(
        "UPDATE tenants_tenant SET admins_read_threads = %s, "
        "admins_read_threads_since = created_at + interval '1 day' WHERE id = %s",
        [on, acme.tenant.pk],
    )
    ((start, _by, end, _end_by),) = migrated(migrating, acme)
    created = acme.tenant.created_at
    day_later = created + timedelta(days=1)
    assert (start, end) == ((day_later, None) if on else (created, day_later))


def test_stored_guessable_hashes_are_dropped(migrating: Any, acme: Company) -> None:
    migrating.execute(
        "INSERT INTO tenants_auditevent (id, tenant_id, created_at, actor, action, subject, data) "
        "VALUES (gen_random_uuid(), %s, now(), '', 'tool.attempted', '', %s)",
        [acme.tenant.pk, '{"arguments_hash": "a26be6661d2d2197", "tool": "cancel_order"}'],
    )
    migrated(migrating, acme)
    kept = migrating.execute(
        "SELECT data FROM tenants_auditevent WHERE action = 'tool.attempted'"
    ).fetchall()
    assert kept == [({"tool": "cancel_order"},)]


def test_hashes_of_calls_are_keyed_or_forgotten(acme: Company, database: TestDatabase) -> None:
    migration = import_module("chat.migrations.0020_keyed_argument_hashes")
    with acme.scope():
        run = Run.objects.get(pk=acme.runs["alice"].pk)
        done = ToolCall.objects.get(run=run)
        done.arguments_hash = hashlib.sha256(done.arguments.encode()).hexdigest()
        done.save()
        waiting = ToolCall.objects.get(run=acme.runs["bob"])
        waiting.status = "waiting"
        waiting.arguments_hash = hashlib.sha256(waiting.arguments.encode()).hexdigest()
        waiting.save()
    migration.replace_hashes(None, OwnersEditor(database))
    with acme.scope():
        assert ToolCall.objects.get(pk=done.pk).arguments_hash == ""
        assert ledger.has_valid_arguments_hash(ToolCall.objects.get(pk=waiting.pk))


class OwnersEditor:
    """The part of a schema editor that a data migration uses, on the owner's connection."""

    def __init__(self, database: TestDatabase) -> None:
        self.connection = database.owner
