"""Who may come in: tenants, people, their memberships, invitations, keys, and the audit trail."""

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
from tenants.constraints import tenant_constraints
from tenants.managers import CurrentTenant, TenantManager, TenantModel, TenantQuerySet
from tenants.reading_periods import ReadingPeriod

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from tenants.authentication import Principal

# Django finds a model where its app's models are.
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
    """What a membership may do; each role includes the ones before it."""

    MEMBER = "member", _("Member")
    ADMIN = "admin", _("Admin")
    OWNER = "owner", _("Owner")


# A key's scope: its program may name users of its own, each with their own chats.
ACT_FOR_USERS = "act_for_users"


class MemberKind(models.TextChoices):
    """Who a membership stands for; the last two do not sign in."""

    PERSON = "person", _("Person")
    PROGRAM = "program", _("Program")
    EXTERNAL = "external", _("External user")


class OwnTenantManager(models.Manager["Tenant"]):
    """Tenant's own table: only the row of the tenant in scope."""

    def get_queryset(self) -> models.QuerySet[Tenant]:
        """Return the tenant in scope and no other."""
        return super().get_queryset().filter(id=CurrentTenant())


class Tenant(models.Model):
    """A company. Its own row stands behind the second wall too."""

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
    """Users sign in by e-mail, compared without case."""

    def create_user(self, email: str, password: str | None = None, **flags: Any) -> User:
        """Insert a user for the operator, so with a proven address.

        Without a password they can only set one through a reset link.
        """
        flags.setdefault("address_proven_at", timezone.now())
        user = self.model(email=self.normalize_email(email).lower(), **flags)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **flags: Any) -> User:
        """Insert a platform operator."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **flags)

    def get_by_natural_key(self, username: str | None) -> User:
        """Find by e-mail without case."""
        # Stored in lower case. PostgreSQL's own folding takes a dotless i for an i.
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in. What a tenant sees of them lives on Membership."""

    email = models.EmailField(_("e-mail address"), unique=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)
    # When the owner of the address was known to hold this account; None: never (decision 0016).
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
        """True for a platform operator whose address is proven."""
        return self.is_active and self.is_superuser and self.address_proven_at is not None

    def check_password(self, raw_password: str | None) -> bool:
        """Compare, and renew the hash where it is of an older kind and still the stored one.

        Django's own method would store the old password again where it was replaced meanwhile.
        """
        stored = self.password

        def renew(password: str) -> None:
            self.set_password(password)
            User.objects.filter(pk=self.pk, password=stored).update(password=self.password)

        return check_password(raw_password, stored, renew)


def _is_somebody() -> models.Q:
    """Return what each kind of membership names: an account, nobody, or somebody's user."""
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
        """Leave out the disabled and the removed."""
        return self.filter(disabled_at=None, removed_at=None)

    def owners_locked(self) -> MembershipQuerySet:
        """Lock the owners who can act, in the order of their keys.

        Of two people who take each other's ownership away, the second waits here and
        then finds only the one who is left. Not FOR UPDATE: an audit row that the same request
        inserted refers to its actor, so two owners would wait for each other.
        """
        return self.active().filter(role=Role.OWNER).order_by("pk").select_for_update(no_key=True)

    def for_principal(self, principal: Principal) -> MembershipQuerySet:
        """Return what `principal` may name: admins everybody, members themselves."""
        present = self.filter(removed_at=None)
        if principal.is_admin:
            return present
        return present.filter(pk__in=[principal.membership_id])


class Membership(TenantModel):
    """One person in one tenant, a program, or a user of a program.

    An external user is known by the id that the program gives them (`external_id`) and comes
    in through its keys only: `sponsor` is whose keys those are.
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
    # Until then one sign-in to this company may go without the account's second factor.
    factor_waived_until = models.DateTimeField(null=True, editable=False)
    # Set where this company's invitation made the account: it opens without a proven address.
    admits_unproven = models.BooleanField(default=False, editable=False)
    # Counted by a trigger: it grows with each change that a form shows.
    version = models.IntegerField(default=1, db_default=1, editable=False)

    objects: ClassVar[TenantManager] = TenantManager.of(MembershipQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *tenant_constraints("membership", sponsor="CASCADE"),
            models.UniqueConstraint(fields=["tenant", "user"], name="membership_one_per_user"),
            models.UniqueConstraint(
                fields=["tenant", "sponsor", "external_id"], name="membership_one_per_external_id"
            ),
            models.CheckConstraint(condition=_is_somebody(), name="membership_is_somebody"),
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
        """True while this membership opens doors."""
        return self.disabled_at is None and self.removed_at is None

    @property
    def is_open_to_account(self) -> bool:
        """True where the account may act here: active, and proven or made by this company."""
        if self.user is None:
            return True
        is_trusted = self.user.address_proven_at is not None or self.admits_unproven
        return self.user.is_active and is_trusted


class InvitationQuerySet(TenantQuerySet["Invitation"]):
    """Invitations of the tenant in scope."""

    def open(self) -> InvitationQuerySet:
        """Leave out the accepted, the withdrawn and the expired."""
        return self.filter(accepted_at=None, withdrawn_at=None, expires_at__gt=clock.now())

    def for_principal(self, principal: Principal) -> InvitationQuerySet:
        """Admins see all invitations, members none."""
        return self.all() if principal.is_admin else self.none()


class Invitation(TenantModel):
    """An open door for one address, by a link whose secret is kept as a hash only."""

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
    # Whether only the owner of the address, or the operator, was given the link.
    proves_address = models.BooleanField(default=False, editable=False)
    accepted_at = models.DateTimeField(_("accepted"), null=True, editable=False)
    withdrawn_at = models.DateTimeField(_("withdrawn"), null=True, editable=False)

    objects: ClassVar[TenantManager] = TenantManager.of(InvitationQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        constraints: ClassVar[list[models.BaseConstraint]] = tenant_constraints(
            "invitation", invited_by="SET NULL"
        )

    def __str__(self) -> str:
        return self.email


class ApiKeyQuerySet(TenantQuerySet["ApiKey"]):
    """Keys of the tenant in scope."""

    def usable(self, now: datetime) -> ApiKeyQuerySet:
        """Leave out the revoked and the expired."""
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        return self.filter(unexpired, revoked_at=None)

    def for_principal(self, principal: Principal) -> ApiKeyQuerySet:
        """Return every key for owners, all but other owners' for admins, for others their own."""
        if principal.is_owner:
            return self.all()
        own = models.Q(membership_id__in=[principal.membership_id])
        if principal.is_admin:
            own |= ~models.Q(membership__role=Role.OWNER)
        return self.filter(own)


class ApiKey(TenantModel):
    """A program's credential. The secret is shown once; only its SHA-256 is kept."""

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
        constraints: ClassVar[list[models.BaseConstraint]] = tenant_constraints(
            "apikey", membership="CASCADE"
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


# An admin opened a member's chat, or saw titles or beginnings of its texts in a list.
CHAT_OPENED, CHATS_LISTED = "chat.opened", "chat.listed"
READING_ACTIONS = (CHAT_OPENED, CHATS_LISTED)


class AuditQuerySet(TenantQuerySet["AuditEvent"]):
    """Audit events of the tenant in scope."""

    def for_principal(self, principal: Principal) -> AuditQuerySet:
        """Admins read the trail, members do not."""
        return self.all() if principal.is_admin else self.none()

    def readings_of(self, membership_id: UUID) -> AuditQuerySet:
        """Return the events of admins who read a member's chats, newest first."""
        rows = self.filter(concerns=membership_id, action__in=READING_ACTIONS)
        return rows.order_by("-created_at", "-id")


class AuditEvent(TenantModel):
    """Something that was done. The application's role can insert these and nothing else."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(_("when"), default=timezone.now)
    actor_id = models.UUIDField(null=True)
    actor = models.CharField(_("who"), max_length=200)
    action = models.CharField(_("what"), max_length=64)
    subject = models.CharField(_("on"), max_length=200, blank=True)
    data = models.JSONField(_("details"), default=dict)
    # The member whose account or chats it is about, where that is not the one who acted.
    concerns = models.UUIDField(null=True)

    objects: ClassVar[TenantManager] = TenantManager.of(AuditQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("audit event")
        verbose_name_plural = _("audit log")
        constraints: ClassVar[list[models.BaseConstraint]] = tenant_constraints("audit")
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
