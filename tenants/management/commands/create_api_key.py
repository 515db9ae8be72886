"""`manage.py create_api_key --tenant SLUG --user EMAIL --name NAME`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from tenants.access import Principal, console_principal
from tenants.actions import KEY_SCOPES, create_api_key
from tenants.clean import clean_email_address
from tenants.errors import NotFound
from tenants.json_output import JsonCommand
from tenants.models import Membership
from tenants.scope import tenant_scope


class Command(JsonCommand):
    """Makes an API key that acts as one member."""

    help = "Makes an API key that acts as one member; its secret is printed once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--user", required=True, metavar="EMAIL")
        parser.add_argument("--name", required=True, help="which program uses it")
        parser.add_argument(
            "--scopes",
            nargs="+",
            default=["read", "write"],
            help=f"some of {', '.join(KEY_SCOPES)}; read and write without it",
        )

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Make it."""
        principal = console_principal(options["tenant"])
        member = _member(principal, options["user"])
        scopes = [scope for words in options["scopes"] for scope in words.split(",") if scope]
        key, secret = create_api_key(
            principal, name=options["name"], member_id=member.pk, scopes=scopes
        )
        found = {
            "key": secret,
            "id": str(key.pk),
            "name": key.name,
            "tenant": principal.tenant.slug,
            "user": member.email,
            "scopes": key.scopes,
        }
        return found, f"{secret}\nKeep it now: it is not shown again."


def _member(principal: Principal, email: str) -> Membership:
    address = clean_email_address(email, param="user")
    with tenant_scope(principal.tenant_id), transaction.atomic():
        found: Membership | None = (
            Membership.objects.all().active().filter(user__email=address).first()
        )
    if found is None:
        raise NotFound(f"{address} is no active member of {principal.tenant.slug}.")
    return found
