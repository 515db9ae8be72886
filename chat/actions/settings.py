"""Update a tenant's limits and prices."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from chat.actions.fields import clean_choice, clean_text
from chat.errors import InvalidInput, NotFound
from chat.models import Price, TenantPolicy, UsageKind
from chat.tools import registry
from tenants import audit
from tenants.authentication import Principal
from tenants.errors import EditConflict
from tenants.models import Role, Tenant
from tenants.scope import tenant_scope

_CURRENCY = re.compile(r"[A-Z]{3}\Z")


def update_limits(
    principal: Principal,
    *,
    max_tokens_per_run: int | None,
    max_cost_per_run: Decimal | None,
    approval_tools: list[str],
    version: int | None = None,
) -> TenantPolicy:
    """Set the tenant's limits per run; None uses the installation's limit.

    `version` is the version to be replaced, 0 if the tenant has no limits yet.

    Raises:
        NotAllowed: the principal is not an owner.
        InvalidInput: a field is invalid; `param` names it.
        EditConflict: `version` is given and is not the stored version.
    """
    principal.require(Role.OWNER)
    if max_tokens_per_run is not None and not 1 <= max_tokens_per_run < 2**63:
        raise InvalidInput(_("Must be at least 1."), param="max_tokens_per_run")
    if max_cost_per_run is not None:
        _check_amount(max_cost_per_run, param="max_cost_per_run", below=Decimal(10) ** 8)
    for name in approval_tools:
        if registry.find(name) is None:
            raise InvalidInput(_("There is no tool with this name."), param="approval_tools")
    values: dict[str, Any] = {
        "max_tokens_per_run": max_tokens_per_run,
        "max_cost_per_run": max_cost_per_run,
        "approval_tools": sorted(set(approval_tools)),
    }
    with tenant_scope(principal.tenant_id), transaction.atomic():
        Tenant.objects.select_for_update(no_key=True).get()
        EditConflict.check(TenantPolicy.objects.first(), version)
        policy: TenantPolicy
        policy, _made = TenantPolicy.objects.update_or_create(defaults=values)
        audit.record(
            principal,
            "limits.changed",
            **{**values, "max_cost_per_run": str(max_cost_per_run) if max_cost_per_run else None},
        )
    return policy


def set_price(
    principal: Principal,
    *,
    model: str,
    kind: str,
    price: Decimal,
    currency: str,
    version: int | None = None,
) -> Price:
    """Set the tenant's price for a million tokens of `model`, or for one unit of another kind.

    Replaces the earlier price; recorded usage keeps its price. `version` is the version to
    be replaced, 0 if there is no price yet.

    Raises:
        NotAllowed: the principal is not an owner.
        InvalidInput: a field is invalid; `param` names it.
        EditConflict: `version` is given and is not the stored version.
    """
    principal.require(Role.OWNER)
    kind = clean_choice(kind, param="kind", choices=tuple(UsageKind.values))
    of_model = UsageKind(kind).is_of_model
    model = clean_text(model, param="model", limit=256, required=of_model)
    if model and not of_model:
        raise InvalidInput(
            _("This price applies to all models. Leave this field empty."), param="model"
        )
    _check_amount(price, param="price", below=Decimal(10) ** 14)
    if not _CURRENCY.match(currency):
        raise InvalidInput(
            _("Enter a currency code of three capital letters, such as USD."), param="currency"
        )
    with tenant_scope(principal.tenant_id), transaction.atomic():
        Tenant.objects.select_for_update(no_key=True).get()
        EditConflict.check(Price.objects.filter(model=model, kind=kind).first(), version)
        row: Price
        row, _made = Price.objects.update_or_create(
            model=model, kind=kind, defaults={"price": price, "currency": currency}
        )
        audit.record(
            principal,
            "price.set",
            model or kind,
            id=str(row.pk),
            kind=kind,
            price=str(price),
            currency=currency,
        )
    return row


def delete_price(principal: Principal, price_id: int) -> None:
    """Delete one of the tenant's prices; tokens use the public price table again.

    Raises:
        NotAllowed: the principal is not an owner.
        NotFound: the price does not exist.
    """
    principal.require(Role.OWNER)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        row = Price.objects.select_for_update(no_key=True).filter(pk=price_id).first()
        if row is None:
            raise NotFound(_("This price has already been deleted."))
        audit.record(principal, "price.deleted", row.model or row.kind, kind=row.kind)
        row.delete()


def _check_amount(amount: Decimal, *, param: str, below: Decimal) -> None:
    if not amount.is_finite() or not 0 <= amount < below:
        raise InvalidInput(_("Must be a valid amount of 0 or more."), param=param)
