"""Usage of tools in addition to tokens."""

from __future__ import annotations

from chat.models import Price, Usage, UsageKind
from chat.tools.base import ToolContext

CODE_SESSION = UsageKind.CODE_SESSION.value


def record_code_session(ctx: ToolContext) -> None:
    """Record the usage of a new code session at the tenant's price.

    Call within the tenant's scope and a transaction.
    """
    price = Price.objects.filter(kind=CODE_SESSION).order_by("pk").first()
    Usage.objects.create(
        member_id=ctx.thread.member_id,
        run=ctx.run,
        call=ctx.call_id,
        model=CODE_SESSION,
        kind=CODE_SESSION,
        quantity=1,
        unit="session",
        price=price.price if price else None,
        currency=price.currency if price else "",
        price_source="tenant" if price else "",
    )
