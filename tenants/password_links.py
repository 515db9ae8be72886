"""Password information printed by the commands that create users."""

from __future__ import annotations

from typing import Any

from tenants.accounts.adapter import get_base_url
from tenants.actions import make_reset_link
from tenants.models import User

_RESET = (
    " The account already existed, but its address was never verified: its password, second "
    "factor, sessions and API keys have been revoked. Only this link gives access."
)


def describe_password(
    user: User, created: bool, password: str | None
) -> tuple[dict[str, Any], str]:
    """Return additions to a command's JSON output and to its text output.

    A new account without a password, and one whose address was never verified, gets a password
    link. The operator receives it and sends it to the person.
    """
    if created and password is not None:
        return {}, ""
    if not created and user.address_proven_at is not None:
        return {}, " The account already existed and keeps its password."
    link = make_reset_link(None, user.email, base_url=get_base_url(None))
    note = "" if created else _RESET
    return {"password_link": link}, f"{note}\nTo set a password: {link}"
