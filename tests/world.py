"""Two-tenant world: the same people, roles and kinds of rows in acme and globex.

Every free text contains a canary of its tenant. A canary seen by the other tenant or in a log is a
leak.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module

from allauth.account.internal.flows import login as login_flow
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.test import Client
from django.utils import timezone

from chat.models import Assistant, Message, Run, RunStep, Thread, ThreadMapping, ToolCall, Usage
from tenants import audit
from tenants.authentication import Principal, choose_membership, hash_secret
from tenants.models import ApiKey, Invitation, Membership, Role, Tenant, User
from tenants.scope import tenant_scope

PASSWORD = "correct-horse-42"
PEOPLE = {
    "acme": {"olga": "owner", "adam": "admin", "alice": "member", "bob": "member", "pat": "member"},
    "globex": {
        "otto": "owner",
        "greta": "admin",
        "gina": "member",
        "hugo": "member",
        "pat": "member",
    },
}


@dataclass(kw_only=True)
class Company:
    """Tenant with its rows; `company.alice` is Alice's membership."""

    tenant: Tenant
    people: dict[str, Membership] = field(default_factory=dict)
    threads: dict[str, Thread] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    keys: dict[str, ApiKey] = field(default_factory=dict)
    key_secrets: dict[str, str] = field(default_factory=dict)
    assistant: Assistant = field(init=False)
    invitation: Invitation = field(init=False)
    invitation_token: str = field(init=False)

    def __getattr__(self, name: str) -> Membership:
        people: dict[str, Membership] = self.__dict__.get("people", {})
        try:
            return people[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def canary(self) -> str:
        """Marker contained in every free text of this tenant."""
        return f"CANARY-{self.tenant.slug.upper()}-"

    @property
    def member_names(self) -> tuple[str, str]:
        """Names of the two plain members of only this tenant: alice, bob or gina, hugo."""
        first, second = [n for n, m in self.people.items() if m.role == "member" and n != "pat"]
        return first, second

    def principal(self, name: str) -> Principal:
        """Return the principal of a signed-in person."""
        membership = self.people[name]
        return Principal(tenant=self.tenant, membership=membership, role=membership.role)

    def scope(self) -> transaction.Atomic:
        """Return a context manager that enters this tenant's scope and a transaction."""
        return _Scope(self.tenant)

    def client(self, name: str) -> Client:
        """Return a test client signed in as this person to this tenant."""
        client = Client()
        client.cookies[settings.SESSION_COOKIE_NAME] = self.session_key(name)
        return client

    def session_key(self, name: str) -> str:
        """Sign a person in and return their session key."""
        membership = self.people[name]
        assert membership.user is not None
        session = signed_in_session(membership.user)
        choose_membership(session, membership)
        session.save()
        assert session.session_key is not None
        return session.session_key


class _Scope(transaction.Atomic):
    def __init__(self, tenant: Tenant) -> None:
        super().__init__(None, savepoint=True, durable=False)
        self._tenant_scope = tenant_scope(tenant.pk)

    def __enter__(self) -> None:
        self._tenant_scope.__enter__()
        super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[arg-type]
        self._tenant_scope.__exit__(*error)  # type: ignore[arg-type]


@dataclass(kw_only=True)
class World:
    """Both tenants, and the operator outside them."""

    acme: Company
    globex: Company
    operator: User

    def operator_client(self) -> Client:
        """Return a test client signed in as the operator, outside any tenant."""
        client = Client()
        session = signed_in_session(self.operator)
        session.save()
        client.cookies[settings.SESSION_COOKIE_NAME] = str(session.session_key)
        return client


def signed_in_session(user: User) -> SessionBase:
    """Return an unsaved session as after sign-in, before a membership is chosen."""
    session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session[login_flow.AUTHENTICATION_METHODS_SESSION_KEY] = [
        {"method": "password", "at": time.time()}
    ]
    session[login_flow._AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(user.pk)
    return session


def build_world() -> World:
    """Write the world into an empty database."""
    pat = User.objects.create_user("pat@both.example", PASSWORD)
    return World(
        acme=_build_company("acme", pat),
        globex=_build_company("globex", pat),
        operator=User.objects.create_superuser("operator@atrium.example", PASSWORD),
    )


def _build_company(slug: str, pat: User) -> Company:
    mark = f"CANARY-{slug.upper()}-"
    tenant = Tenant(slug=slug, name=f"{slug.title()} {mark}COMPANY")
    company = Company(tenant=tenant)
    with company.scope():
        tenant.save(force_insert=True)
        for name, role in PEOPLE[slug].items():
            user = pat if name == "pat" else _create_user(name, slug)
            company.people[name] = _create_membership(tenant, user, name, Role(role), mark)
        _build_credentials(company, mark)
        company.assistant = Assistant.objects.create(
            name=f"Helper {mark}ASSISTANT",
            description=f"{mark}DESCRIPTION",
            instructions=f"{mark}INSTRUCTIONS",
            model="demo-scripted",
            upstream="demo",
            suggested_prompts=[f"{mark}PROMPT"],
            is_default=True,
        )
        for name in company.member_names:
            _build_thread(company, name, mark)
        audit.record(company.principal(next(iter(company.people))), "tenant.made", f"{mark}AUDIT")
    return company


def _create_user(name: str, slug: str) -> User:
    return User.objects.create_user(f"{name}@{slug}.example", PASSWORD)


def _create_membership(tenant: Tenant, user: User, name: str, role: Role, mark: str) -> Membership:
    made: Membership = Membership.objects.create(
        tenant=tenant,
        user=user,
        name=f"{name.title()} {mark}{name.upper()}",
        email=user.email,
        role=role,
    )
    return made


def _build_credentials(company: Company, mark: str) -> None:
    """Create an open invitation, and API keys of the owner and the first member."""
    owner = next(iter(company.people))
    company.invitation_token = uuid.uuid4().hex
    company.invitation = Invitation.objects.create(
        email=f"newcomer@{company.tenant.slug}.example",
        token_hash=hash_secret(company.invitation_token),
        invited_by=company.people[owner],
        expires_at=timezone.now() + timedelta(days=7),
    )
    for name in (owner, company.member_names[0]):
        secret = f"atr_{uuid.uuid4().hex}{uuid.uuid4().hex}"
        company.key_secrets[name] = secret
        company.keys[name] = ApiKey.objects.create(
            membership=company.people[name],
            name=f"{mark}KEY",
            prefix=secret[:12],
            secret_hash=hash_secret(secret),
            scopes=["read", "write", "admin"],
        )


def _build_thread(company: Company, name: str, mark: str) -> None:
    """Create a chat with one question and one answer that called a tool."""
    mark += name.upper()
    member = company.people[name]
    thread = Thread.objects.create(
        member=member, title=f"{mark}-TITLE", last_position=2, metadata={"note": f"{mark}-META"}
    )
    run = Run.objects.create(
        thread=thread,
        assistant=company.assistant,
        assistant_ref=company.assistant.pk,
        member=member,
        status="completed",
        model="demo-scripted",
        upstream="demo",
        instructions=f"{mark}-INSTRUCTIONS",
        through_position=1,
        expires_at=timezone.now() + timedelta(minutes=10),
        started_at=timezone.now(),
        ended_at=timezone.now(),
    )
    for position, role in ((1, "user"), (2, "assistant")):
        Message.objects.create(
            thread=thread,
            position=position,
            role=role,
            content=[
                {"type": "text", "text": {"value": f"{mark}-{role.upper()}", "annotations": []}}
            ],
            assistant=company.assistant,
            run_ref=run.pk if role == "assistant" else "",
            client_id=str(uuid.uuid4()) if role == "user" else None,
            completed_at=timezone.now(),
        )
    _build_trace(run, mark)
    ThreadMapping.objects.create(
        thread=thread, upstream="elsewhere", external_id=f"{mark}-CONVERSATION"
    )
    company.threads[name], company.runs[name] = thread, run


def _build_trace(run: Run, mark: str) -> None:
    step = RunStep.objects.create(
        run=run, index=0, type="tool_calls", status="completed", ended_at=timezone.now()
    )
    ToolCall.objects.create(
        run=run,
        step=step,
        round=0,
        index=0,
        server_call_id="call_1",
        name="get_order",
        effect="read",
        arguments=f'{{"order_number": "{mark}-ARGUMENT"}}',
        bound={"order_number": f"{mark}-ARGUMENT"},
        status="completed",
        output=f"{mark}-OUTPUT",
        started_at=timezone.now(),
        ended_at=timezone.now(),
    )
    answer = Message.objects.get(thread_id=run.thread_id, position=2)
    RunStep.objects.create(
        run=run,
        index=1,
        type="message_creation",
        message=answer,
        status="completed",
        ended_at=timezone.now(),
    )
    Usage.objects.create(
        member_id=run.member_id,
        run=run,
        call=step.pk,
        model=run.model,
        kind="input_tokens",
        quantity=10,
        unit="token",
    )
