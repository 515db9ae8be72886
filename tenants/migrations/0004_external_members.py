"""How many users a company's programs brought, and lately, is counted at each new one."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0003_programs")]

    operations = [
        migrations.AddIndex(
            model_name="membership",
            index=models.Index(
                condition=models.Q(("kind", "external")),
                fields=["tenant", "created_at"],
                name="membership_external",
            ),
        ),
    ]
