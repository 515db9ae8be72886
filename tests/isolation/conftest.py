"""The world with a row of every kind, under both walls and under the second one alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import models

from tenants.authentication import Principal
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import OwnTenantManager
from tests.isolation.rows import Rows, build_rows
from tests.world import World

BOTH, SECOND_ALONE = "both walls", "row-level security alone"
# Not even the person is compared: what another company's row is safe by then is PostgreSQL.
NOTHING_ELSE = "row-level security and nobody's condition"


@pytest.fixture
def rows(world: World, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Ids of everything, of everybody."""
    settings.MEDIA_ROOT = tmp_path
    # What a walk leaves behind is compared: that a key was used again a minute later is no change.
    monkeypatch.setattr("tenants.authentication.KEY_USE_INTERVAL_SECONDS", math.inf)
    return build_rows(world)


def take_first_wall_away(patch: pytest.MonkeyPatch) -> None:
    """Leave managers without the tenant's condition, and rows without the check at saving."""

    def unscoped(manager: Any) -> Any:
        return manager._queryset_class(model=manager.model, using=manager._db)

    patch.setattr(TenantManager, "get_queryset", unscoped)
    patch.setattr(OwnTenantManager, "get_queryset", unscoped)
    # The compiled SQL has the former conditions; this is the fallback that operators can choose.
    patch.setattr(settings, "COMPILED_QUERIES", False)

    stamp = TenantModel.stamp_tenant

    def stamp_new_rows_only(row: Any) -> None:
        if row.tenant_id is None:
            stamp(row)

    patch.setattr(TenantModel, "stamp_tenant", stamp_new_rows_only)


def take_persons_away(patch: pytest.MonkeyPatch) -> None:
    """Let every query for a principal return whatever PostgreSQL lets through."""

    def everything(queryset: Any, _principal: Principal) -> Any:
        return queryset.all()

    for kind in TenantQuerySet.__subclasses__():
        if "visible_to" in vars(kind):
            patch.setattr(kind, "visible_to", everything)


@pytest.fixture(params=[BOTH, SECOND_ALONE, NOTHING_ELSE])
def walls(request: pytest.FixtureRequest, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which walls stand; each test of the matrix runs under each of these."""
    if request.param == NOTHING_ELSE:
        take_persons_away(monkeypatch)
        rows.colleagues = False
    if request.param != BOTH:
        take_first_wall_away(monkeypatch)
        for model in (m for m in TenantModel.__subclasses__() if not m._meta.abstract):
            assert "tenant_id" not in str(_condition(model))
    return str(request.param)


def _condition(model: type[models.Model]) -> object:
    return model._default_manager.all().query.where
