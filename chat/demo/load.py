"""Load the demonstration companies once, and keep their sign-ins in the data folder."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from chat.demo.assistants import create_demo_assistants, list_assistant_fields
from chat.demo.companies import COMPANIES, DemoCompany, DemoOrder
from chat.demo.knowledge import create_demo_documents, equip_desks
from chat.demo.models import Contact, Customer, Order, OrderLine
from tenants.actions.companies import create_tenant
from tenants.actions.people import add_member
from tenants.actions.proof import revoke_unproven_credentials
from tenants.authentication import Principal
from tenants.db import call_privileged
from tenants.models import Membership, Role, Tenant, User
from tenants.scope import tenant_scope


@dataclass(frozen=True, kw_only=True)
class DemoSignIn:
    """Credentials of a demonstration member."""

    email: str
    password: str
    name: str
    company: str
    role: str


@dataclass(kw_only=True)
class _Record:
    """Record of the loaded data: shared password, tenant ids by slug, assistant names.

    `documents` holds the slugs of the companies whose documents were created.
    """

    password: str
    companies: dict[str, str] = field(default_factory=dict)
    assistants: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)


def load() -> bool:
    """Load the missing parts of the demonstration; return True if any were missing.

    A repeated call costs reading one small file and one query per company.
    """
    record = _read() or _Record(password=f"outdoor-{secrets.token_hex(5)}")
    ids = {company.slug: _find_tenant_id(company.slug) for company in COMPANIES}
    present = {slug: str(found) for slug, found in ids.items() if found is not None}
    names = [fields["name"] for fields in list_assistant_fields("")]
    if present != record.companies or len(present) < len(COMPANIES):
        record.companies, record.assistants, record.documents = {}, [], []
    elif set(names) <= set(record.assistants) and len(record.documents) == len(COMPANIES):
        return False
    # Written first, so that the password in the database is known after an interruption.
    _write(record)
    for company in COMPANIES:
        principal = _ensure_company(company, ids[company.slug], record.assistants)
        new = [name for name in names if name not in record.assistants]
        if company.slug not in record.documents:
            create_demo_documents(principal, company.slug)
            new = names
        equip_desks(principal, new)
        record.companies[company.slug] = str(principal.tenant_id)
    emails = [person.email for company in COMPANIES for person in company.people]
    people = User.objects.filter(email__in=emails)
    for user_id in people.filter(address_proven_at=None).values_list("pk", flat=True):
        revoke_unproven_credentials(user_id)
    people.filter(address_proven_at=None).update(address_proven_at=timezone.now())
    # One slow hash for all of them.
    people.update(password=make_password(record.password))
    record.documents = [company.slug for company in COMPANIES]
    record.assistants = [*record.assistants, *(n for n in names if n not in record.assistants)]
    _write(record)
    return True


def list_sign_ins() -> list[DemoSignIn]:
    """Return the sign-ins, members first; empty before `load`."""
    record = _read()
    if record is None:
        return []
    return [
        DemoSignIn(
            email=person.email,
            password=record.password,
            name=person.name,
            company=company.name,
            role=person.role,
        )
        for company in COMPANIES
        for person in company.people
    ]


def _get_path() -> Path:
    return Path(settings.DATA_DIR) / "demo.json"


def _read() -> _Record | None:
    try:
        kept: dict[str, Any] = json.loads(_get_path().read_text())
        return _Record(**kept)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # truncated or foreign: load again
        return None


def _write(record: _Record) -> None:
    path = _get_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        json.dump(asdict(record), file)
    partial.replace(path)


def _find_tenant_id(slug: str) -> UUID | None:
    rows = call_privileged("tenant_of_slug", slug)
    return rows[0][0] if rows else None


def _ensure_company(company: DemoCompany, found: UUID | None, made_before: list[str]) -> Principal:
    if found is None:
        tenant = create_tenant(None, company.slug, name=company.name, color=company.color)
    else:
        with tenant_scope(found), transaction.atomic():
            tenant = Tenant.objects.get()
    principal = Principal(tenant=tenant, membership=None, role=Role.OWNER)
    _ensure_people(principal, company)
    create_demo_assistants(principal, made_before=made_before)
    with tenant_scope(tenant.pk), transaction.atomic():
        if not Customer.objects.exists():
            _insert_data(company, timezone.localdate())
    return principal


def _ensure_people(principal: Principal, company: DemoCompany) -> None:
    with tenant_scope(principal.tenant_id), transaction.atomic():
        known = set(Membership.objects.values_list("email", flat=True))
    for person in company.people:
        if person.email not in known:
            add_member(principal, person.email, role=person.role, name=person.name)


def _insert_data(company: DemoCompany, today: date) -> None:
    """Insert customers, orders and contacts. Call in the company's scope and a transaction."""
    customers = Customer.objects.bulk_create(Customer(name=name) for name in company.customers)
    Contact.objects.bulk_create(
        Contact(customer=customers[0], member=member)
        for member in Membership.objects.filter(role=Role.MEMBER, removed_at=None)
    )
    for given in company.orders:
        order = _build_order(given, customers[given.customer], today)
        order.save(force_insert=True)
        OrderLine.objects.bulk_create(
            OrderLine(order=order, name=name, quantity=quantity, price=price)
            for name, quantity, price in given.lines
        )


def _build_order(given: DemoOrder, customer: Customer, today: date) -> Order:
    expected = given.expected_in_days
    return Order(
        number=given.number,
        customer=customer,
        status=given.status,
        ordered_on=today - timedelta(days=given.ordered_days_ago),
        expected_on=None if expected is None else today + timedelta(days=expected),
        carrier=given.carrier,
        tracking_number=given.tracking_number,
        delivery_address=given.address,
    )
