"""Tools of the order desk; company and member come from the run, never from arguments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from django.utils.translation import gettext_lazy as _

from chat.demo.models import Order, OrderLine, OrderStatus
from chat.tools.base import Effect, Limits, ToolContext, ToolError
from chat.tools.registry import tool

Status = Literal["placed", "packed", "shipped", "delivered", "cancelled"]
CURRENCY = "USD"
MAX_LISTED = 50
MIN_ADDRESS_LENGTH = 5


@tool(effect=Effect.READ, label=_("List orders"))
def list_orders(ctx: ToolContext, status: Status | None = None) -> dict[str, Any]:
    """List the orders of the person you talk to, newest first.

    Args:
        status: Only orders with this status; leave it out for all.
    """
    orders = Order.objects.visible_to(ctx.principal).order_by("-number")
    if status is not None:
        orders = orders.filter(status=status)
    found = list(orders[: MAX_LISTED + 1])
    shown = [
        {
            "order_number": order.number,
            "status": order.status,
            "ordered_on": order.ordered_on,
            "expected_delivery": order.expected_on,
        }
        for order in found[:MAX_LISTED]
    ]
    return {"orders": shown, "has_more": len(found) > MAX_LISTED}


@tool(effect=Effect.READ, label=_("Look up order"))
def get_order(ctx: ToolContext, order_number: int) -> dict[str, Any]:
    """Look up one order: where it is, what is in it, who brings it and when.

    Args:
        order_number: The number of the order, such as 1042.
    """
    order = Order.objects.visible_to(ctx.principal).filter(number=order_number).first()
    return describe_order(_require_order(order, order_number))


@tool(effect=Effect.WRITE_ONCE, label=_("Change delivery address"))
def update_delivery_address(
    ctx: ToolContext, order_number: int, address: Annotated[str, Limits(MIN_ADDRESS_LENGTH, 200)]
) -> dict[str, Any]:
    """Change where an order is delivered to, as long as it has not been shipped.

    Args:
        order_number: The number of the order, such as 1042.
        address: The whole new address: street and number, town, postcode.
    """
    whole = " ".join(address.split())
    if len(whole) < MIN_ADDRESS_LENGTH:
        raise ToolError("invalid_arguments", "This is not a complete address")
    order = _get_changeable_order(ctx, order_number)
    order.delivery_address = whole
    order.save(update_fields=["delivery_address"])
    return describe_order(order)


@tool(effect=Effect.DESTRUCTIVE, label=_("Cancel order"))
def cancel_order(ctx: ToolContext, order_number: int) -> dict[str, Any]:
    """Cancel an order for good, as long as it has not been shipped.

    Args:
        order_number: The number of the order, such as 1042.
    """
    order = _get_changeable_order(ctx, order_number)
    order.status = OrderStatus.CANCELLED
    order.expected_on = None
    order.save(update_fields=["status", "expected_on"])
    return describe_order(order)


def describe_order(order: Order) -> dict[str, Any]:
    """Return the order as the model sees it."""
    lines = list(OrderLine.objects.filter(order=order).order_by("pk"))
    return {
        "order_number": order.number,
        "status": order.status,
        "items": [
            {"quantity": line.quantity, "name": line.name, "price": line.price} for line in lines
        ],
        "total": sum(line.total for line in lines),
        "currency": CURRENCY,
        "ordered_on": order.ordered_on,
        "carrier": order.carrier,
        "tracking_number": order.tracking_number,
        "expected_delivery": order.expected_on,
        "delivery_address": order.delivery_address,
    }


def _get_changeable_order(ctx: ToolContext, order_number: int) -> Order:
    orders = Order.objects.visible_to(ctx.principal).locked()
    order = _require_order(orders.filter(number=order_number).first(), order_number)
    if not order.can_change:
        raise ToolError(
            "too_late",
            f"Order {order_number} is already {order.status} and can no longer be changed",
        )
    return order


def _require_order(order: Order | None, order_number: int) -> Order:
    if order is None:
        raise ToolError("not_found", f"There is no order {order_number}")
    return order
