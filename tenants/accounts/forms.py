"""Forms of the account pages, without allauth's placeholders, which repeat the labels."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from allauth.account import forms as account_forms
from allauth.account.internal.flows.login import record_authentication
from allauth.core import context
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from tenants.accounts.sign_in_limits import get_code_attempt, start_attempt
from tenants.actions import use_company_code
from tenants.authentication import SessionLimit
from tenants.errors import AtriumError
from tenants.models import Membership, User

PASSWORD_HELP_TEXT = _("At least 8 characters, and not a common password.")


class NoPlaceholdersMixin:
    """Mixin that removes placeholders and sets labels and help texts by field name."""

    fields: dict[str, forms.Field]
    labels: dict[str, Any] = {}
    helps: dict[str, Any] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = self.labels.get(name, field.label)
            field.help_text = self.helps.get(name, field.help_text)


class SignInForm(NoPlaceholdersMixin, account_forms.LoginForm):  # type: ignore[misc]
    """Sign-in form with e-mail address and password."""

    labels = {"login": _("Email address"), "remember": _("Keep me signed in")}
    helps = {"password": ""}


class ResetForm(NoPlaceholdersMixin, account_forms.ResetPasswordForm):  # type: ignore[misc]
    """Form that requests a password reset link by e-mail."""

    labels = {"email": _("Email address")}


class NewPasswordForm(NoPlaceholdersMixin, account_forms.ResetPasswordKeyForm):  # type: ignore[misc]
    """Form that sets a new password after a reset link was opened."""

    labels = {"password1": _("New password"), "password2": _("Confirm new password")}
    helps = {"password1": PASSWORD_HELP_TEXT}


class ChangePasswordForm(NoPlaceholdersMixin, account_forms.ChangePasswordForm):  # type: ignore[misc]
    """Form that changes the password of a signed-in user."""

    labels = {
        "oldpassword": _("Current password"),
        "password1": _("New password"),
        "password2": _("Confirm new password"),
    }
    helps = {"oldpassword": "", "password1": PASSWORD_HELP_TEXT}


class ConfirmForm(NoPlaceholdersMixin, account_forms.ReauthenticateForm):  # type: ignore[misc]
    """Form that asks for the password again before a sensitive action."""

    helps = {"password": ""}


class CodeRateLimitMixin:
    """Mixin that limits code attempts per client; allauth's limit could lock the owner out."""

    user: User

    def clean_code(self) -> str:
        """Check the code, unless this client has to wait."""
        attempt = get_code_attempt(context.request, self.user)
        start_attempt(context.request, attempt)
        code: str = super().clean_code()  # type: ignore[misc]
        attempt.succeed()
        return code


class AccountOrCompanyCodeForm(NoPlaceholdersMixin, mfa_forms.AuthenticateForm):  # type: ignore[misc]
    """Form for a code of the account's second factor or of a company-only factor."""

    labels = {"code": _("Authenticator code or recovery code")}
    membership: Membership | None = None
    _failed_authenticator: Authenticator | None = None

    def clean_code(self) -> str:
        """Accept an account code, or a company code, which limits the sign-in to that company."""
        try:
            return str(super().clean_code())
        except forms.ValidationError:
            if self._failed_authenticator is None:
                raise
            code = str(self.cleaned_data["code"])
            self.membership = use_company_code(self.user, code)
            if self.membership is None:
                super()._emit_authentication_failed(self._failed_authenticator)
                raise
            return code

    def _emit_authentication_failed(self, authenticator: Authenticator) -> None:
        self._failed_authenticator = authenticator

    def save(self) -> None:
        """Record the authentication; a company code limits the sign-in to that company."""
        if self.membership is None:
            super().save()
            return
        context.request.company_only = SessionLimit(membership_id=self.membership.pk)
        record_authentication(context.request, self.user, method="mfa", type="company")


class CodeForm(CodeRateLimitMixin, AccountOrCompanyCodeForm):
    """Form for the MFA code at sign-in."""


class ConfirmCodeForm(CodeRateLimitMixin, NoPlaceholdersMixin, mfa_forms.ReauthenticateForm):  # type: ignore[misc]
    """Form that asks for an MFA code again before a sensitive action."""

    labels = {"code": _("Authenticator code or recovery code")}


class ActivateForm(NoPlaceholdersMixin, ActivateTOTPForm):  # type: ignore[misc]
    """Form for the first code of a new authenticator app."""

    labels = {"code": _("Six-digit code from your app")}


def list_zone_choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the time zones, grouped by region (the part before the first slash)."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(available_timezones()):
        region, _sep, place = name.partition("/")
        if place and region not in ("Etc", "SystemV", "posix", "right"):
            groups.setdefault(region, []).append((name, place.replace("_", " ")))
    return [(str(_("Universal")), [("UTC", "UTC")]), *sorted(groups.items())]


class ProfileForm(forms.Form):
    """Form for the profile of a member in one company."""

    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
        help_text=_("Visible to your colleagues and to assistants."),
    )
    language = forms.ChoiceField(label=_("Language"), choices=lambda: settings.LANGUAGES)
    zone = forms.ChoiceField(
        label=_("Time zone"),
        choices=list_zone_choices,
        help_text=_("All times are shown in this time zone."),
    )


class JoinForm(forms.Form):
    """Form that accepts an invitation with an existing account."""

    name = forms.CharField(
        label=_("Your name"), max_length=100, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )


class NewAccountForm(JoinForm):
    """Form that accepts an invitation and sets the password of a new account."""

    password = forms.CharField(
        label=_("Choose a password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=PASSWORD_HELP_TEXT,
    )


class KeyForm(forms.Form):
    """Form that creates a personal API key."""

    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text=_("For example, the app that will use the key."),
    )
    days = forms.TypedChoiceField(
        label=_("Expiration"),
        choices=[
            ("30", _("30 days")),
            ("90", _("90 days")),
            ("365", _("1 year")),
            ("", _("No expiration")),
        ],
        initial="90",
        required=False,
        coerce=int,
        empty_value=None,
        help_text=_("Keys expire automatically so that unused ones don't stay active."),
    )
    act_for_users = forms.BooleanField(
        label=_("Can act on behalf of the app's end users (each gets separate chats)"),
        required=False,
    )

    def __init__(self, *args: Any, may_act_for_users: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not may_act_for_users:
            del self.fields["act_for_users"]


def show_error(form: forms.Form, error: AtriumError) -> None:
    """Add the error of an action to its form field, or to the whole form."""
    form.add_error(error.param if error.param in form.fields else None, error.message)
