"""Errors that a user or a client can cause; `chat.errors` extends them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

_INVALID = "invalid_request_error"


class AtriumError(Exception):
    """Something went wrong."""

    code = "error"
    http_status = 400
    retryable = False
    # Seconds until a retry may succeed, if known.
    retry_after: int | None = None

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().split("\n")[0]
        self.param = param
        super().__init__(self.message)


# Default Retry-After in seconds.
RETRY_AFTER_SECONDS = 5


def build_error_body(
    code: str | None, message: str, *, status: int, param: str | None = None
) -> Any:
    """Return an error as JSON in the Assistants API's format."""
    kind = {429: "requests"}.get(status, "server_error" if status >= 500 else _INVALID)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class NotFound(AtriumError):
    """No object has this id."""

    code = "not_found"
    http_status = 404


class NotAllowed(AtriumError):
    """Your role does not allow this."""

    code = "not_allowed"
    http_status = 403


class Invalid(AtriumError):
    """This value is invalid."""

    code = "invalid"


class AccessDenied(AtriumError):
    """Sign in to continue."""

    code = "access_denied"
    http_status = 401


class InvalidApiKey(AccessDenied):
    """This API key is invalid."""

    code = "invalid_api_key"
    # Ids of the key and its tenant, for the audit log, if the secret belongs to a key.
    place: tuple[UUID, UUID] | None = None


class MissingScope(NotAllowed):
    """This API key does not have the required scope."""

    code = "permission_denied"


class UserDisabled(NotAllowed):
    """This user has been disabled by a company admin."""

    code = "permission_denied"


class TooManyNewUsers(AtriumError):
    """Your company's programs created too many new users. Try again later."""

    code = "too_many_new_users"
    http_status = 429
    retryable = True


class TooManyUsers(AtriumError):
    """Your company's programs have reached the user limit."""

    code = "too_many_users"


class TooManyKeys(AtriumError):
    """This member has reached the API key limit. Revoke a key first."""

    code = "too_many_keys"


class SecondFactorRequired(NotAllowed):
    """This session is limited to one company. Sign in again with two-factor authentication."""

    code = "second_factor_needed"


class EditConflict(AtriumError):
    """This was changed in the meantime. Reload it and try again."""

    code = "changed_meanwhile"
    http_status = 412

    def __init__(self, row: Any = None) -> None:
        super().__init__()
        # The current row, or None if it is not known.
        self.row = row

    @classmethod
    def check(cls, row: Any, version: int | None) -> None:
        """Compare the version that the client read with that of the locked row.

        `version` is None to accept any version, and 0 if the client saw no row; `row` is None if
        there is no row.

        Raises:
            EditConflict: The row has another version.
        """
        if version is not None and row is not None and row.version != version:
            raise cls(row)


class LastOwner(AtriumError):
    """A company needs at least one owner. Make another member an owner first."""

    code = "last_owner"
    http_status = 409


class InvalidInvitation(AtriumError):
    """This invitation was used, withdrawn or has expired. Ask for a new one."""

    code = "invitation_gone"
    http_status = 410


class WrongAccount(AtriumError):
    """This invitation is for another address. Sign out, then open the link again."""

    code = "wrong_account"
    http_status = 409


class UnverifiedAddress(AtriumError):
    """Confirm your email address first: set a new password with "Forgot your password?"."""

    code = "address_unproven"
    http_status = 403


class SignInRequired(AtriumError):
    """Something went wrong. If you have an account with this address, sign in first."""

    code = "sign_in_first"
    http_status = 409
