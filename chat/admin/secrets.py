"""Links and keys that are shown once or mailed; they are not stored."""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.http import HttpRequest
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.utils.translation import gettext as _

from tenants.admin import site
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


def render_secret(
    request: HttpRequest, *, title: str, says: str, secret: str, onward: str
) -> SimpleTemplateResponse:
    """Return the response to the POST that created `secret`; `onward` is the next page's URL."""
    # Some callers manage their own transactions; the menu of this page needs one.
    with transaction.atomic():
        context = {
            **site.each_context(request),
            "title": title,
            "says": says,
            "secret": secret,
            "onward": onward,
        }
        return TemplateResponse(request, "admin/shown_once.html", context).render()
