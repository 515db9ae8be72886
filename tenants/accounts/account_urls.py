"""URLs of the allauth pages in use; its sign-up and e-mail management pages are left out."""

from __future__ import annotations

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.usersessions import views as sign_ins
from django.urls import path, re_path

from tenants.accounts.factor_views import (
    CodeView,
    log_shown_codes,
    set_up_company_factor,
    sign_in_with_waiver,
)
from tenants.accounts.recent_sign_in import require_whole_account
from tenants.accounts.views import RequestPasswordResetView, SignInView, apply_wait_status

urlpatterns = [
    path("login/", apply_wait_status(SignInView.as_view()), name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path(
        "reauthenticate/", apply_wait_status(account.reauthenticate), name="account_reauthenticate"
    ),
    path(
        "password/change/",
        require_whole_account(account.password_change),
        name="account_change_password",
    ),
    path("password/reset/", RequestPasswordResetView.as_view(), name="account_reset_password"),
    path("password/reset/done/", account.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>[^/]+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "password/reset/key/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path("second-factor/", require_whole_account(mfa.index), name="mfa_index"),
    path("second-factor/code/", apply_wait_status(CodeView.as_view()), name="mfa_authenticate"),
    path("second-factor/waived/", sign_in_with_waiver, name="sign_in_waived"),
    path("second-factor/company/", set_up_company_factor, name="company_factor"),
    path(
        "second-factor/confirm/", apply_wait_status(mfa.reauthenticate), name="mfa_reauthenticate"
    ),
    path(
        "second-factor/app/on/", require_whole_account(totp.activate_totp), name="mfa_activate_totp"
    ),
    path(
        "second-factor/app/off/",
        require_whole_account(totp.deactivate_totp),
        name="mfa_deactivate_totp",
    ),
    path(
        "second-factor/recovery-codes/",
        require_whole_account(log_shown_codes(recovery_codes.view_recovery_codes)),
        name="mfa_view_recovery_codes",
    ),
    path(
        "second-factor/recovery-codes/new/",
        require_whole_account(recovery_codes.generate_recovery_codes),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "second-factor/recovery-codes/file/",
        require_whole_account(log_shown_codes(recovery_codes.download_recovery_codes)),
        name="mfa_download_recovery_codes",
    ),
    path("sign-ins/", require_whole_account(sign_ins.list_usersessions), name="usersessions_list"),
]
