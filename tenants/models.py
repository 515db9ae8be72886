"""Models: tenants, users, memberships, invitations, API keys and the audit log."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants import clock
from tenants.company_factors import CompanyFactor
from tenants.constraints import build_tenant_constraints
from tenants.managers import CurrentTenant, TenantManager, TenantModel, TenantQuerySet
from tenants.reading_periods import ReadingPeriod

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from tenants.authentication import Principal

# Django discovers models in an app's `models` module, so the other modules' models are here.
__all__ = [
    "ACT_FOR_USERS",
    "ApiKey",
    "AuditEvent",
    "CompanyFactor",
    "Invitation",
    "MemberKind",
    "Membership",
    "OwnTenantManager",
    "ReadingPeriod",
    "Role",
    "Tenant",
    "User",
]


class Role(models.TextChoices):
    """Role of a membership; each role includes the permissions of the ones before it."""

    MEMBER = "member", _("Member")
    ADMIN = "admin", _("Admin")
    OWNER = "owner", _("Owner")


# API key scope: the program can act on behalf of its own users, each with separate chats.
ACT_FOR_USERS = "act_for_users"


class MemberKind(models.TextChoices):
    """Kind of a membership; programs and external users cannot sign in."""

    PERSON = "person", _("Person")
    PROGRAM = "program", _("Program")
    EXTERNAL = "external", _("External user")


class OwnTenantManager(models.Manager["Tenant"]):
    """Manager of `Tenant`, limited to the row of the tenant in scope."""

    def get_queryset(self) -> models.QuerySet[Tenant]:
        """Return only the tenant in scope."""
        return super().get_queryset().filter(id=CurrentTenant())


class Tenant(models.Model):
    """A company. Row-level security also protects its own row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(_("short name"), max_length=50, unique=True)
    name = models.CharField(
        _("name"), max_length=100, help_text=_("Shown at the top of every page to your people.")
    )
    color = models.CharField(
        _("colour"),
        max_length=7,
        default="#2563eb",
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}\Z", _("Use the form #2563eb."))],
        help_text=_("Buttons and links take this colour; its contrast is corrected where needed."),
    )
    admins_read_threads = models.BooleanField(
        _("admins may read members' chats"),
        default=False,
        help_text=_(
            "Off: only the member who writes a chat can read it. Every change is recorded, and "
            "members are notified. Only an owner can change this."
        ),
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    suspended_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Counted by a trigger: it grows with each change that a form shows.
    version = models.IntegerField(default=1, db_default=1, editable=False)

    objects: ClassVar[OwnTenantManager] = OwnTenantManager()

    class Meta:
        verbose_name = _("company")
        verbose_name_plural = _("companies")
        base_manager_name = "objects"
        default_manager_name = "objects"

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Manager of users, who sign in by e-mail, case-insensitively."""

    def create_user(self, email: str, password: str | None = None, **flags: Any) -> User:
        """Create a user on behalf of the operator, with a verified address.

        Without a password, the user can only set one through a reset link.
        """
        flags.setdefault("address_proven_at", timezone.now())
        user = self.model(email=self.normalize_email(email).lower(), **flags)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **flags: Any) -> User:
        """Create a platform operator."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **flags)

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user with this e-mail address, case-insensitively."""
        # Stored in lower case. PostgreSQL's case folding treats a dotless i as an i.
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in. The data that a tenant can see is on Membership."""

    email = models.EmailField(_("e-mail address"), unique=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)
    # When the account was known to belong to the address's owner; None: never (decision 0016).
    address_proven_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("account")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(Lower("email"), name="user_email_without_case")
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def is_operator(self) -> bool:
        """True for a platform operator with a verified address."""
        return self.is_active and self.is_superuser and self.address_proven_at is not None

    def check_password(self, raw_password: str | None) -> bool:
        """Check the password; upgrade an outdated hash if it is still the stored one.

        Django's own method would restore the old password if it was changed concurrently.
        """
        stored = self.password

        def renew(password: str) -> None:
            self.set_password(password)
            User.objects.filter(pk=self.pk, password=stored).update(password=self.password)

        return check_password(raw_password, stored, renew)


def _build_identity_condition() -> models.Q:
    """Return the valid combinations of `kind`, `user`, `sponsor` and `external_id`."""
    alone = models.Q(sponsor__isnull=True, external_id__isnull=True)
    sponsored = models.Q(sponsor__isnull=False, external_id__isnull=False)
    return (
        models.Q(alone, kind=MemberKind.PERSON, user__isnull=False)
        | models.Q(alone, kind=MemberKind.PROGRAM, user__isnull=True)
        | models.Q(sponsored, kind=MemberKind.EXTERNAL, user__isnull=True)
    )


class MembershipQuerySet(TenantQuerySet["Membership"]):
    """Memberships of the tenant in scope."""

    def active(self) -> MembershipQuerySet:
        """Exclude disabled and removed memberships."""
        return self.filter(disabled_at=None, removed_at=None)

    def owners_locked(self) -> MembershipQuerySet:
        """Lock the active owners in primary key order.

        If two owners demote each other concurrently, the second waits here and then finds only
        the remaining owner. FOR UPDATE would deadlock two owners, because an audit row inserted
        by the same request references its actor.
        """
        return self.active().filter(role=Role.OWNER).order_by("pk").select_for_update(no_key=True)

    def visible_to(self, principal: Principal) -> MembershipQuerySet:
        """Return all present members for admins, and members themselves for others."""
        present = self.filter(removed_at=None)
        if principal.is_admin:
            return present
        return present.filter(pk__in=[principal.membership_id])


class Membership(TenantModel):
    """A person in one tenant, a program, or an external user of a program.

    An external user is identified by the program's id for them (`external_id`) and has access
    only through the API keys of `sponsor`, the program's membership.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(
        _("kind"),
        max_length=10,
        choices=MemberKind.choices,
        default=MemberKind.PERSON,
        editable=False,
    )
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, editable=False, related_name="+"
    )
    external_id = models.CharField(max_length=200, null=True, editable=False)
    sponsor = models.ForeignKey(
        "self",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        editable=False,
        related_name="+",
    )
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.MEMBER)
    name = models.CharField(_("name"), max_length=100)
    email = models.EmailField(_("e-mail address"), blank=True, editable=False)
    language = models.CharField(_("language"), max_length=10, default="en")
    zone = models.CharField(_("time zone"), max_length=50, default="UTC")
    created_at = models.DateTimeField(_("joined"), default=timezone.now, editable=False)
    disabled_at = models.DateTimeField(null=True, editable=False)
    removed_at = models.DateTimeField(null=True, editable=False)
    signed_out_at = models.DateTimeField(null=True, editable=False)
    reading_acknowledged_at = models.DateTimeField(null=True, editable=False)
    # Until then, one sign-in to this company does not need the account's second factor.
    factor_waived_until = models.DateTimeField(null=True, editable=False)
    # Set if this company's invitation created the account: no verified address is needed here.
    admits_unproven = models.BooleanField(default=False, editable=False)
    # Counted by a trigger: it grows with each change that a form shows.
    version = models.IntegerField(default=1, db_default=1, editable=False)

    objects: ClassVar[TenantManager] = TenantManager.of(MembershipQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("membership", sponsor="CASCADE"),
            models.UniqueConstraint(fields=["tenant", "user"], name="membership_one_per_user"),
            models.UniqueConstraint(
                fields=["tenant", "sponsor", "external_id"], name="membership_one_per_external_id"
            ),
            models.CheckConstraint(
                condition=_build_identity_condition(), name="membership_is_somebody"
            ),
            models.CheckConstraint(
                condition=models.Q(kind=MemberKind.PERSON)
                | models.Q(kind=MemberKind.PROGRAM, role__in=[Role.MEMBER, Role.ADMIN])
                | models.Q(kind=MemberKind.EXTERNAL, role=Role.MEMBER),
                name="membership_role_fits_kind",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["tenant", "created_at"],
                condition=models.Q(kind=MemberKind.EXTERNAL),
                name="membership_external",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_active(self) -> bool:
        """True unless the membership is disabled or removed."""
        return self.disabled_at is None and self.removed_at is None

    @property
    def is_open_to_account(self) -> bool:
        """True if the account is active, and verified or created by this company's invitation."""
        if self.user is None:
            return True
        is_trusted = self.user.address_proven_at is not None or self.admits_unproven
        return self.user.is_active and is_trusted


class InvitationQuerySet(TenantQuerySet["Invitation"]):
    """Invitations of the tenant in scope."""

    def open(self) -> InvitationQuerySet:
        """Exclude accepted, withdrawn and expired invitations."""
        return self.filter(accepted_at=None, withdrawn_at=None, expires_at__gt=clock.now())

    def visible_to(self, principal: Principal) -> InvitationQuerySet:
        """Return all invitations for admins, none for members."""
        return self.all() if principal.is_admin else self.none()


class Invitation(TenantModel):
    """An invitation of one e-mail address. Only the hash of the link's secret is stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(_("e-mail address"))
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.MEMBER)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(
        Membership,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        editable=False,
        related_name="+",
    )
    created_at = models.DateTimeField(_("sent"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("valid until"), editable=False)
    # True if only the owner of the address, or the operator, received the link.
    proves_address = models.BooleanField(default=False, editable=False)
    accepted_at = models.DateTimeField(_("accepted"), null=True, editable=False)
    withdrawn_at = models.DateTimeField(_("withdrawn"), null=True, editable=False)

    objects: ClassVar[TenantManager] = TenantManager.of(InvitationQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints(
            "invitation", invited_by="SET NULL"
        )

    def __str__(self) -> str:
        return self.email


class ApiKeyQuerySet(TenantQuerySet["ApiKey"]):
    """Keys of the tenant in scope."""

    def usable(self, now: datetime) -> ApiKeyQuerySet:
        """Exclude revoked and expired keys."""
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        return self.filter(unexpired, revoked_at=None)

    def visible_to(self, principal: Principal) -> ApiKeyQuerySet:
        """Return all keys for owners, all except owners' for admins, own keys for others."""
        if principal.is_owner:
            return self.all()
        own = models.Q(membership_id__in=[principal.membership_id])
        if principal.is_admin:
            own |= ~models.Q(membership__role=Role.OWNER)
        return self.filter(own)


class ApiKey(TenantModel):
    """A program's credential. The secret is shown once; only its SHA-256 is stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    membership = models.ForeignKey(
        Membership,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        editable=False,
        related_name="+",
    )
    name = models.CharField(_("name"), max_length=100, help_text=_("Which program uses it."))
    prefix = models.CharField(_("begins with"), max_length=16, editable=False)
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(_("scopes"), default=list, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("valid until"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)

    objects: ClassVar[TenantManager] = TenantManager.of(ApiKeyQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints(
            "apikey", membership="CASCADE"
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


# An admin opened a member's chat, or saw chat titles or text previews in a list.
CHAT_OPENED, CHATS_LISTED = "chat.opened", "chat.listed"
READING_ACTIONS = (CHAT_OPENED, CHATS_LISTED)


class AuditQuerySet(TenantQuerySet["AuditEvent"]):
    """Audit events of the tenant in scope."""

    def visible_to(self, principal: Principal) -> AuditQuerySet:
        """Return all events for admins, none for members."""
        return self.all() if principal.is_admin else self.none()

    def readings_of(self, membership_id: UUID) -> AuditQuerySet:
        """Return the events of admins reading a member's chats, newest first."""
        rows = self.filter(concerns=membership_id, action__in=READING_ACTIONS)
        return rows.order_by("-created_at", "-id")


class AuditEvent(TenantModel):
    """An entry of the audit log. The application's database role can only insert and read."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(_("when"), default=timezone.now)
    actor_id = models.UUIDField(null=True)
    actor = models.CharField(_("who"), max_length=200)
    action = models.CharField(_("what"), max_length=64)
    subject = models.CharField(_("on"), max_length=200, blank=True)
    data = models.JSONField(_("details"), default=dict)
    # The member whose account the event is about, or whose chats were read; else None.
    concerns = models.UUIDField(null=True)

    objects: ClassVar[TenantManager] = TenantManager.of(AuditQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("audit event")
        verbose_name_plural = _("audit log")
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints("audit")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant", "-created_at"], name="audit_newest"),
            models.Index(
                fields=["tenant", "concerns", "-created_at"],
                condition=models.Q(concerns__isnull=False),
                name="audit_concerning",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"
