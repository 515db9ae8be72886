"""E-mail notifications about account changes, if mail is configured."""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils.translation import gettext as _


def send_notice(address: str, subject: str, text: str) -> bool:
    """Send a notification after the commit; return whether mail is configured.

    A failure of the mail server is logged and does not undo the change.
    """
    if not settings.EMAIL_URL:
        return False
    closing = _("If you did not expect this, contact an owner of your company or the operator.")
    body = f"{text}\n\n{closing}"
    transaction.on_commit(
        partial(send_mail, " ".join(subject.split()), body, None, [address]), robust=True
    )
    return True
