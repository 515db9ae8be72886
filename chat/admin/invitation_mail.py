"""Invitation e-mails, sent if the installation has a mail server."""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils.translation import gettext as _

from tenants.models import Tenant


def mail_invitation(company: Tenant, address: str, link: str) -> str:
    """Mail the link after commit; return a confirmation, or "" without a mail server."""
    if not settings.EMAIL_URL:
        return ""
    subject = _("Invitation to {company}").format(company=company.name)
    text = _(
        "You have been invited to {company}.\n\n{link}\n\n"
        "The link works once and expires after seven days. If you did not expect this invitation, "
        "ignore it."
    ).format(company=company.name, link=link)
    # Robust: an unreachable mail server is logged; inviting again creates another link.
    transaction.on_commit(
        partial(send_mail, " ".join(subject.split()), text, None, [address]), robust=True
    )
    return _("The link is being sent to {address} by e-mail.").format(address=address)
