"""Second factors that open one company only.

A person whose second factor an owner waived sets up one of these. The factors of the account
stay in force everywhere else.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.totp.internal import auth
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.constraints import tenant_constraints
from tenants.managers import TenantModel
from tenants.mfa import SealedAdapter


class CompanyFactor(TenantModel):
    """An authenticator app of one member, for sign-ins to this company only.

    `secret` is encrypted with FIELD_ENCRYPTION_KEYS. `last_counter` is the time step of the
    last accepted code: no code is accepted twice.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    member = models.ForeignKey(
        "tenants.Membership", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    secret = models.TextField(editable=False)
    last_counter = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(TenantModel.Meta):
        verbose_name = _("second factor")
        verbose_name_plural = _("second factors")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *tenant_constraints("company_factor", member="CASCADE"),
            models.UniqueConstraint(fields=["tenant", "member"], name="company_factor_one_each"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    def counter_of(self, code: str) -> int | None:
        """Return the time step whose code this is, None for a wrong or used code."""
        secret = SealedAdapter().decrypt(self.secret)
        found = counter_of(secret, code) if secret else None
        return found if found is not None and found > self.last_counter else None


def counter_of(secret: str, code: str) -> int | None:
    """Return the time step at which `secret` gives `code`, None when it does not at present."""
    for counter in auth.yield_hotp_counters_from_time():
        expected = auth.format_hotp_value(auth.hotp_value(secret, counter))
        if compare_user_code(actual=code, expected=expected):
            return int(counter)
    return None
