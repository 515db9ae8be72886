"""Second factors that are valid for one company only.

A member sets one up after an owner has waived the account's second factor. The account's own
factors still apply to every other company.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.totp.internal import auth
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantModel
from tenants.mfa import EncryptedMfaAdapter


class CompanyFactor(TenantModel):
    """An authenticator app of one member, for sign-ins to this company only.

    `secret` is encrypted with FIELD_ENCRYPTION_KEYS. `last_counter` is the time step of the
    last accepted code, so that no code is accepted twice.
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
            *build_tenant_constraints("company_factor", member="CASCADE"),
            models.UniqueConstraint(fields=["tenant", "member"], name="company_factor_one_each"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    def find_counter(self, code: str) -> int | None:
        """Return the time step of a code, or None if the code is wrong or was used."""
        secret = EncryptedMfaAdapter().decrypt(self.secret)
        counter = find_counter(secret, code) if secret else None
        return counter if counter is not None and counter > self.last_counter else None


def find_counter(secret: str, code: str) -> int | None:
    """Return the current time step at which `secret` yields `code`, or None."""
    for counter in auth.yield_hotp_counters_from_time():
        expected = auth.format_hotp_value(auth.hotp_value(secret, counter))
        if compare_user_code(actual=code, expected=expected):
            return int(counter)
    return None
