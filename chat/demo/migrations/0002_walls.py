"""The second wall around the demonstration's tables."""

from __future__ import annotations

from django.db import migrations

from tenants.row_level_security import EnableRowLevelSecurity


class Migration(migrations.Migration):
    dependencies = [("demo", "0001_initial"), ("tenants", "0002_walls")]

    operations = [
        EnableRowLevelSecurity("customer"),
        EnableRowLevelSecurity("contact"),
        EnableRowLevelSecurity("order"),
        EnableRowLevelSecurity("orderline"),
    ]
