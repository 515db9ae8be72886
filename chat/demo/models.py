"""Customers and orders of the demonstration companies."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.authentication import Principal
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import Membership


class CustomerQuerySet(TenantQuerySet["Customer"]):
    """Customers of the tenant in scope."""

    def visible_to(self, principal: Principal) -> CustomerQuerySet:
        """Return all customers to admins, and to members those they order for."""
        if principal.is_admin:
            return self.all()
        mine = Contact.objects.filter(member_id=principal.membership_id).values("customer_id")
        return self.filter(pk__in=mine)


class Customer(TenantModel):
    """Customer: a household, a club, a shop."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)

    objects: ClassVar[TenantManager] = TenantManager.of(CustomerQuerySet)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("demo_customer"),
            models.UniqueConstraint(fields=["tenant", "name"], name="demo_customer_one_per_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Contact(TenantModel):
    """Member who orders for a customer."""

    id = models.BigAutoField(primary_key=True)
    customer = models.ForeignKey(
        Customer, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    member = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("demo_contact", customer="CASCADE", member="CASCADE"),
            models.UniqueConstraint(
                fields=["tenant", "member", "customer"], name="demo_contact_named_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.member_id} for {self.customer_id}"


class OrderStatus(models.TextChoices):
    """Status of an order."""

    PLACED = "placed", _("placed")
    PACKED = "packed", _("packed")
    SHIPPED = "shipped", _("shipped")
    DELIVERED = "delivered", _("delivered")
    CANCELLED = "cancelled", _("cancelled")


CHANGEABLE_STATUSES = frozenset({OrderStatus.PLACED, OrderStatus.PACKED})


class OrderQuerySet(TenantQuerySet["Order"]):
    """Orders of the tenant in scope."""

    def visible_to(self, principal: Principal) -> OrderQuerySet:
        """Return all orders to admins, and to members those of their customers."""
        return self.filter(customer__in=Customer.objects.all().visible_to(principal))

    def locked(self) -> OrderQuerySet:
        """Lock only the order rows for an update."""
        return self.select_for_update(of=("self",))


class Order(TenantModel):
    """Order of a customer; `number` is unique within a company only."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.IntegerField()
    customer = models.ForeignKey(
        Customer, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    status = models.CharField(max_length=10, choices=OrderStatus.choices)
    ordered_on = models.DateField()
    expected_on = models.DateField(null=True)
    carrier = models.CharField(max_length=50, blank=True)
    tracking_number = models.CharField(max_length=50, blank=True)
    delivery_address = models.CharField(max_length=200)

    objects: ClassVar[TenantManager] = TenantManager.of(OrderQuerySet)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("demo_order", customer="CASCADE"),
            models.UniqueConstraint(fields=["tenant", "number"], name="demo_order_one_per_number"),
        ]

    def __str__(self) -> str:
        return str(self.number)

    @property
    def can_change(self) -> bool:
        """Whether the order has not been shipped or cancelled."""
        return self.status in CHANGEABLE_STATUSES


class OrderLine(TenantModel):
    """Line of an order: a quantity of one product, `price` each in US dollars."""

    id = models.BigAutoField(primary_key=True)
    order = models.ForeignKey(
        Order, on_delete=models.DO_NOTHING, db_constraint=False, related_name="lines"
    )
    name = models.CharField(max_length=100)
    quantity = models.PositiveIntegerField()
    price = models.DecimalField(max_digits=10, decimal_places=2)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints(
            "demo_orderline", order="CASCADE"
        )

    def __str__(self) -> str:
        return f"{self.quantity} x {self.name}"

    @property
    def total(self) -> Decimal:
        """Quantity times price."""
        return self.quantity * self.price
