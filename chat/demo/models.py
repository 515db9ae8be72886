"""Customers of the demonstration companies, and what they ordered."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.authentication import Principal
from tenants.constraints import tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import Membership


class CustomerQuerySet(TenantQuerySet["Customer"]):
    """Customers of the tenant in scope."""

    def for_principal(self, principal: Principal) -> CustomerQuerySet:
        """Admins see every customer, members those they order for."""
        if principal.is_admin:
            return self.all()
        mine = Contact.objects.filter(member_id=principal.membership_id).values("customer_id")
        return self.filter(pk__in=mine)


class Customer(TenantModel):
    """Somebody who orders: a household, a club, a shop."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)

    objects: ClassVar[TenantManager] = TenantManager.of(CustomerQuerySet)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *tenant_constraints("demo_customer"),
            models.UniqueConstraint(fields=["tenant", "name"], name="demo_customer_one_per_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Contact(TenantModel):
    """A member who orders for a customer."""

    id = models.BigAutoField(primary_key=True)
    customer = models.ForeignKey(
        Customer, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    member = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *tenant_constraints("demo_contact", customer="CASCADE", member="CASCADE"),
            models.UniqueConstraint(
                fields=["tenant", "member", "customer"], name="demo_contact_named_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.member_id} for {self.customer_id}"


class OrderStatus(models.TextChoices):
    """Where an order is."""

    PLACED = "placed", _("placed")
    PACKED = "packed", _("packed")
    SHIPPED = "shipped", _("shipped")
    DELIVERED = "delivered", _("delivered")
    CANCELLED = "cancelled", _("cancelled")


CHANGEABLE = frozenset({OrderStatus.PLACED, OrderStatus.PACKED})


class OrderQuerySet(TenantQuerySet["Order"]):
    """Orders of the tenant in scope."""

    def for_principal(self, principal: Principal) -> OrderQuerySet:
        """Admins see every order, members those of the customers they order for."""
        return self.filter(customer__in=Customer.objects.all().for_principal(principal))

    def locked(self) -> OrderQuerySet:
        """Lock the orders themselves for a change."""
        return self.select_for_update(of=("self",))


class Order(TenantModel):
    """An order. `number` is what people call it by: unique within a company, not beyond."""

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
            *tenant_constraints("demo_order", customer="CASCADE"),
            models.UniqueConstraint(fields=["tenant", "number"], name="demo_order_one_per_number"),
        ]

    def __str__(self) -> str:
        return str(self.number)

    @property
    def can_change(self) -> bool:
        """True until it has left the house."""
        return self.status in CHANGEABLE


class OrderLine(TenantModel):
    """So many of one thing, at a price each in US dollars."""

    id = models.BigAutoField(primary_key=True)
    order = models.ForeignKey(
        Order, on_delete=models.DO_NOTHING, db_constraint=False, related_name="lines"
    )
    name = models.CharField(max_length=100)
    quantity = models.PositiveIntegerField()
    price = models.DecimalField(max_digits=10, decimal_places=2)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = tenant_constraints(
            "demo_orderline", order="CASCADE"
        )

    def __str__(self) -> str:
        return f"{self.quantity} x {self.name}"

    @property
    def total(self) -> Decimal:
        """Quantity times price."""
        return self.quantity * self.price
