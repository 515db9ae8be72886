"""Usage, prices, and a tenant's limits."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.models.runs import Run
from tenants.authentication import Principal
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import Membership


class UsageKind(models.TextChoices):
    """Kinds of usage; a company can set a price for each."""

    INPUT_TOKENS = "input_tokens", _("tokens read")
    OUTPUT_TOKENS = "output_tokens", _("tokens written")
    STORAGE = "storage", _("document storage")
    CODE_SESSION = "code_session", _("code sessions")

    @property
    def is_of_model(self) -> bool:
        """True for tokens, which are priced per model and per million."""
        return self in (UsageKind.INPUT_TOKENS, UsageKind.OUTPUT_TOKENS)


class UsageOutcome(models.TextChoices):
    """Outcomes of the model call or code session that the usage belongs to."""

    USED = "used", _("used")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("stopped")
    EXPIRED = "expired", _("ran out of time")
    TAKEN_OVER = "taken_over", _("interrupted, continued by another process")


class UsageQuerySet(TenantQuerySet["Usage"]):
    """Usage of the tenant in scope."""

    def visible_to(self, principal: Principal) -> UsageQuerySet:
        """Return all usage of the tenant for admins, the own usage for members."""
        return self.all() if principal.is_admin else self.filter(member_id=principal.membership_id)


class Usage(TenantModel):
    """A used quantity: of a model call, a code session, or a day of a vector store.

    For a store's day, `call` and `model` are the store's ID. Usage without a `member`
    belongs to the company. `outcome` distinguishes failed attempts. An `estimated`
    quantity was not reported by the model server but computed from the prompt and the
    received text. `price` is per `unit` in `currency`, null if unknown.
    """

    id = models.BigAutoField(primary_key=True)
    member = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    run = models.ForeignKey(
        Run, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    call = models.CharField(max_length=40)
    outcome = models.CharField(max_length=10, default=UsageOutcome.USED)
    estimated = models.BooleanField(default=False, db_default=False)
    model = models.CharField(max_length=256)
    kind = models.CharField(max_length=32)
    quantity = models.DecimalField(max_digits=20, decimal_places=6)
    unit = models.CharField(max_length=16)
    price = models.DecimalField(max_digits=20, decimal_places=12, null=True)
    currency = models.CharField(max_length=3, blank=True)
    price_source = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[TenantManager] = TenantManager.of(UsageQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("usage")
        verbose_name_plural = _("usage")
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints(
            "usage", member="NO ACTION", run="SET NULL"
        )
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant", "created_at"], name="usage_by_time"),
            models.Index(fields=["tenant", "run"], name="usage_by_run"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} {self.kind}"


def annotate_cost(runs: models.QuerySet[Run]) -> models.QuerySet[Run]:
    """Annotate `runs` with their `cost` in US dollars, None if no price is known.

    Usage of failed attempts is included, because it is billed too.
    """
    amount = models.Sum(models.F("price") * models.F("quantity"))
    priced = Usage.objects.filter(run=models.OuterRef("pk"), currency="USD", price__isnull=False)
    summed = priced.order_by().values("run").annotate(amount=amount).values("amount")
    return runs.annotate(cost=models.Subquery(summed))


class Price(TenantModel):
    """A tenant's price: for a model, overriding the public table, or for another kind of usage."""

    id = models.BigAutoField(primary_key=True)
    model = models.CharField(
        _("model"), max_length=256, blank=True, help_text=_("Of tokens. Else it stays empty.")
    )
    kind = models.CharField(_("for"), max_length=32, choices=UsageKind.choices)
    price = models.DecimalField(
        _("price"),
        max_digits=20,
        decimal_places=6,
        validators=[MinValueValidator(0)],
        help_text=_(
            "Tokens: for a million of them. Document storage: for a gigabyte kept for a day. Code "
            "sessions: for each that begins."
        ),
    )
    currency = models.CharField(_("currency"), max_length=3, default="USD")
    # Incremented by a trigger on each change of a field that a form shows.
    version = models.IntegerField(default=1, db_default=1, editable=False)

    class Meta(TenantModel.Meta):
        verbose_name = _("price")
        verbose_name_plural = _("prices")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("price"),
            models.UniqueConstraint(fields=["tenant", "model", "kind"], name="price_one_per_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.get_kind_display()}".strip()


class StorageChange(TenantModel):
    """A change of a vector store's size in bytes, negative for a decrease.

    Written by a trigger on every change of a store's documents. Metering replaces the
    rows of past days with one opening balance, which has the remainder of byte-seconds
    that was too small to record in `carried`.
    """

    id = models.BigAutoField(primary_key=True)
    store_ref = models.CharField(max_length=40)
    bytes = models.BigIntegerField()
    at = models.DateTimeField()
    carried = models.DecimalField(
        max_digits=24, decimal_places=6, default=Decimal(0), db_default=Decimal(0)
    )

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints(
            "storagechange"
        )
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["at"], name="storagechange_by_time"),
            models.Index(fields=["tenant", "store_ref", "at"], name="storagechange_of_store"),
        ]

    def __str__(self) -> str:
        return f"{self.store_ref} {self.bytes:+}"


class TenantPolicy(TenantModel):
    """A tenant's limits per run; an empty field uses the installation's limit."""

    id = models.BigAutoField(primary_key=True)
    max_tokens_per_run = models.BigIntegerField(
        _("tokens per answer"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("An answer that needs more is cut short and says so."),
    )
    max_cost_per_run = models.DecimalField(
        _("cost per answer"),
        max_digits=12,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_(
            "In US dollars, by the known prices. An answer that would cost more is cut short and "
            "says so."
        ),
    )
    approval_tools = models.JSONField(
        _("tools that need approval"),
        default=list,
        blank=True,
        help_text=_("Besides those that destroy something, which always ask."),
    )
    # Incremented by a trigger on each change of a field that a form shows.
    version = models.IntegerField(default=1, db_default=1, editable=False)

    class Meta(TenantModel.Meta):
        verbose_name = _("limits")
        verbose_name_plural = _("limits")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("policy"),
            models.UniqueConstraint(fields=["tenant"], name="policy_one_per_tenant"),
        ]

    def __str__(self) -> str:
        return "limits"
