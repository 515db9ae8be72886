"""The second wall around the demonstration's tables."""

from __future__ import annotations

from django.db import migrations

from tenants.row_level_security import TenantWall


class Migration(migrations.Migration):
    dependencies = [("demo", "0001_initial"), ("tenants", "0002_walls")]

    operations = [
        TenantWall("customer"),
        TenantWall("contact"),
        TenantWall("order"),
        TenantWall("orderline"),
    ]
