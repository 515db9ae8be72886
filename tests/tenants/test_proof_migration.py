"""What an installation's accounts count as after the migration that asks for proof."""

from __future__ import annotations

from importlib import import_module

from tenants.actions import accept_invitation, add_member, invite
from tenants.authentication import get_console_principal
from tenants.models import Membership, User
from tests.database import TestDatabase
from tests.world import World

MIGRATION = import_module("tenants.migrations.0005_proven_addresses")


def migrate(database: TestDatabase) -> None:
    """Run the migration on rows as the former version left them."""
    database.owner.execute("UPDATE tenants_user SET address_proven_at = NULL")
    database.owner.execute("UPDATE tenants_membership SET admits_unproven = false")
    database.owner.execute(MIGRATION.PROVE_ACCOUNTS)
    database.owner.execute(MIGRATION.ADMIT_UNPROVEN)


def proven(address: str) -> bool:
    return User.objects.get(email=address).address_proven_at is not None


def test_accounts_of_the_operators_making_are_proven_since_then(
    world: World, database: TestDatabase
) -> None:
    add_member(get_console_principal("acme"), "made@acme.example")
    migrate(database)
    user = User.objects.get(email="made@acme.example")
    assert user.address_proven_at == user.date_joined
    assert User.objects.get(pk=world.operator.pk).is_operator


def test_an_account_that_an_invitation_made_opens_that_company_only(
    world: World, database: TestDatabase
) -> None:
    made = accept_invitation(
        world.acme.invitation_token, user=None, name="Nora", password="grape-fresh-77"
    )
    joined, _created = add_member(get_console_principal("globex"), made.email)
    migrate(database)
    assert not proven(made.email)
    with world.acme.scope():
        assert Membership.objects.get(pk=made.pk).admits_unproven
    with world.globex.scope():
        assert not Membership.objects.get(pk=joined.pk).admits_unproven


def test_an_account_of_the_operators_making_stays_proven_when_it_was_invited_later(
    world: World, database: TestDatabase
) -> None:
    User.objects.filter(email="gina@globex.example").update(date_joined="2026-01-01T00:00Z")
    _row, token = invite(world.acme.principal("adam"), "gina@globex.example")
    accept_invitation(token, user=world.globex.gina.user, name="Gina")
    migrate(database)
    assert proven("gina@globex.example")
