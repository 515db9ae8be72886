"""What the commands that trust an account print about its password."""

from __future__ import annotations

from typing import Any

from tenants.accounts.adapter import base_url
from tenants.actions import make_reset_link
from tenants.models import User

_RESET = (
    " The account was there already, but its address was never proven: its password, second "
    "factor, sign-ins and API keys have ended. It opens with this link only."
)


def describe_password(
    user: User, created: bool, password: str | None
) -> tuple[dict[str, Any], str]:
    """Return what to add to a command's JSON object and to its line for people.

    A link stands there for a new account without a password, and for one whose address was
    never proven: it goes to the operator, who knows whom to send it to.
    """
    if created and password is not None:
        return {}, ""
    if not created and user.address_proven_at is not None:
        return {}, " The account was there already and keeps its password."
    link = make_reset_link(None, user.email, base_url=base_url(None))
    says = "" if created else _RESET
    return {"password_link": link}, f"{says}\nTo set a password: {link}"
