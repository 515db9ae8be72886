"""Usage that is estimated, and runs that wait for an unavailable model server."""

from __future__ import annotations

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0020_keyed_argument_hashes")]

    operations = [
        migrations.AddField(
            model_name="usage",
            name="estimated",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="run",
            name="usage_estimated",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="run",
            name="retry_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AlterField(
            model_name="tenantpolicy",
            name="max_cost_per_run",
            field=models.DecimalField(
                blank=True,
                decimal_places=4,
                help_text="In US dollars, by the known prices. An answer that would cost more is cut short and says so.",
                max_digits=12,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="cost per answer",
            ),
        ),
    ]
