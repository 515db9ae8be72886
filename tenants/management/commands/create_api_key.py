"""`manage.py create_api_key --tenant SLUG (--user EMAIL | --program NAME) --name NAME`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from tenants.actions import KEY_SCOPES, create_api_key
from tenants.actions.keys import DEFAULT_SCOPES
from tenants.authentication import Principal, get_console_principal
from tenants.errors import NotFound
from tenants.json_output import JsonCommand
from tenants.models import MemberKind, Membership
from tenants.scope import tenant_scope
from tenants.validation import clean_email_address


class Command(JsonCommand):
    """Command that creates an API key for a member or a program."""

    help = "Create an API key for a member or program. Its secret is printed once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        whom = parser.add_mutually_exclusive_group(required=True)
        whom.add_argument("--user", metavar="EMAIL", help="member that the key acts for")
        whom.add_argument(
            "--program", metavar="NAME", help="program that the key acts for; created if missing"
        )
        parser.add_argument("--name", required=True, help="name of the key")
        parser.add_argument(
            "--scopes",
            nargs="+",
            default=list(DEFAULT_SCOPES),
            help=f"any of {', '.join(KEY_SCOPES)}; default: all but the last",
        )

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Create the key."""
        principal = get_console_principal(options["tenant"])
        member = _find_member(principal, options["user"], options["program"])
        scopes = [scope for words in options["scopes"] for scope in words.split(",") if scope]
        key, secret = create_api_key(
            principal,
            name=options["name"],
            member_id=member.pk if member else None,
            program=None if member else options["program"],
            scopes=scopes,
        )
        found = {
            "key": secret,
            "id": str(key.pk),
            "name": key.name,
            "tenant": principal.tenant.slug,
            "user": options["user"],
            "program": options["program"],
            "scopes": key.scopes,
        }
        return found, f"{secret}\nStore it now. It is not shown again."


def _find_member(principal: Principal, email: str | None, program: str | None) -> Membership | None:
    """Return the existing member or program; None for a program to be created."""
    with tenant_scope(principal.tenant_id), transaction.atomic():
        active = Membership.objects.all().active()
        if email is None:
            present: Membership | None = active.filter(
                kind=MemberKind.PROGRAM, name=program
            ).first()
            return present
        address = clean_email_address(email, param="user")
        found: Membership | None = active.filter(user__email=address).first()
    if found is None:
        raise NotFound(f"{address} is not an active member of {principal.tenant.slug}.")
    return found
