"""A call may wait for the output of a program."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0007_owned_runs")]

    operations = [
        migrations.AlterField(
            model_name="toolcall",
            name="status",
            field=models.CharField(
                choices=[
                    ("awaiting_output", "waiting for a program"),
                    ("waiting", "waiting for approval"),
                    ("approved", "approved"),
                    ("declined", "declined"),
                    ("started", "running"),
                    ("completed", "complete"),
                    ("failed", "failed"),
                    ("refused", "refused"),
                    ("outcome_unknown", "outcome unknown"),
                    ("cancelled", "stopped"),
                ],
                max_length=16,
            ),
        ),
    ]
