"""Files, uploads, vector stores, and the passages and vectors that are searched."""

from __future__ import annotations

import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import chat.ids
import chat.models.stores
import chat.models.vectors
import tenants.constraints


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0010_runs_in_line"),
        ("tenants", "0003_programs"),
    ]

    operations = [
        migrations.CreateModel(
            name="File",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=chat.ids.file_id,
                        editable=False,
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "purpose",
                    models.CharField(
                        choices=[
                            ("assistants", "for assistants"),
                            ("assistants_output", "made by an assistant"),
                            ("vision", "a picture to look at"),
                            ("user_data", "anything"),
                            ("batch", "batch"),
                            ("batch_output", "batch output"),
                            ("fine-tune", "fine-tune"),
                            ("fine-tune-results", "fine-tune results"),
                            ("evals", "evaluations"),
                        ],
                        max_length=20,
                    ),
                ),
                ("filename", models.CharField(max_length=255, verbose_name="name")),
                ("media_type", models.CharField(max_length=100)),
                ("bytes", models.BigIntegerField(default=0)),
                ("sha256", models.CharField(blank=True, max_length=64)),
                ("storage_key", models.CharField(max_length=100, unique=True)),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="uploaded"
                    ),
                ),
                ("stored_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
                ("deleted_at", models.DateTimeField(null=True)),
                (
                    "member",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.membership",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "file",
                "verbose_name_plural": "files",
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="FileBatch",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=chat.ids.batch_id,
                        editable=False,
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("cancelled_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="StorageUse",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("bytes", models.BigIntegerField(default=0)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="StoreFile",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("in_progress", "being read"),
                            ("completed", "ready"),
                            ("cancelled", "stopped"),
                            ("failed", "failed"),
                        ],
                        default="in_progress",
                        max_length=12,
                    ),
                ),
                ("error_code", models.CharField(blank=True, max_length=20)),
                ("error_message", models.CharField(blank=True, max_length=300)),
                ("attributes", models.JSONField(blank=True, default=dict)),
                ("max_chunk_tokens", models.IntegerField(default=800)),
                ("overlap_tokens", models.IntegerField(default=400)),
                ("chosen_chunking", models.BooleanField(default=False)),
                ("text", models.TextField(blank=True)),
                ("pages", models.JSONField(default=list)),
                ("usage_bytes", models.BigIntegerField(default=0)),
                ("chunk_count", models.IntegerField(default=0)),
                ("tries", models.IntegerField(default=0)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("claimed_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "batch",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="files",
                        to="chat.filebatch",
                    ),
                ),
                (
                    "file",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        to="chat.file",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "document",
                "verbose_name_plural": "documents",
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Chunk",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("store_ref", models.CharField(max_length=40)),
                ("index", models.IntegerField()),
                ("start", models.IntegerField()),
                ("end", models.IntegerField()),
                ("text", models.TextField()),
                (
                    "words",
                    models.GeneratedField(
                        db_persist=True,
                        expression=chat.models.stores.SearchWords("text", "store_ref"),
                        output_field=django.contrib.postgres.search.SearchVectorField(),
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "store_file",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="chunks",
                        to="chat.storefile",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Upload",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=chat.ids.upload_id,
                        editable=False,
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "purpose",
                    models.CharField(
                        choices=[
                            ("assistants", "for assistants"),
                            ("assistants_output", "made by an assistant"),
                            ("vision", "a picture to look at"),
                            ("user_data", "anything"),
                            ("batch", "batch"),
                            ("batch_output", "batch output"),
                            ("fine-tune", "fine-tune"),
                            ("fine-tune-results", "fine-tune results"),
                            ("evals", "evaluations"),
                        ],
                        max_length=20,
                    ),
                ),
                ("filename", models.CharField(max_length=255)),
                ("media_type", models.CharField(max_length=100)),
                ("bytes", models.BigIntegerField()),
                ("file_seconds", models.IntegerField(null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("completed", "Completed"),
                            ("cancelled", "Cancelled"),
                            ("expired", "Expired"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                (
                    "file",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="chat.file",
                    ),
                ),
                (
                    "member",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.membership",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="UploadPart",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=chat.ids.part_id,
                        editable=False,
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("bytes", models.BigIntegerField(default=0)),
                ("storage_key", models.CharField(max_length=100, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("stored_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "upload",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="chat.upload",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Vector",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("store_ref", models.CharField(max_length=40)),
                ("direction", chat.models.vectors.HalfVectorField()),
                (
                    "chunk",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="chat.chunk",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="VectorStore",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=chat.ids.store_id,
                        editable=False,
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=256, verbose_name="name")),
                (
                    "description",
                    models.CharField(blank=True, max_length=512, verbose_name="description"),
                ),
                ("embedding", models.CharField(blank=True, max_length=300)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                ("expires_days", models.IntegerField(null=True)),
                ("last_active_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="created"),
                ),
                ("deleted_at", models.DateTimeField(null=True)),
                (
                    "member",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.membership",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "document collection",
                "verbose_name_plural": "document collections",
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.AddField(
            model_name="storefile",
            name="store",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="files",
                to="chat.vectorstore",
            ),
        ),
        migrations.AddField(
            model_name="filebatch",
            name="store",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="chat.vectorstore",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(fields=["tenant", "-created_at", "-id"], name="file_newest"),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(
                    ("stored_at", None), ("deleted_at__isnull", False), _connector="OR"
                ),
                fields=["created_at"],
                name="file_to_remove",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False)),
                fields=["expires_at"],
                name="file_expires",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="file_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=tenants.constraints.TenantForeignKey(
                field="member", name="file_member_same_tenant"
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "purpose__in",
                        [
                            "assistants",
                            "assistants_output",
                            "vision",
                            "user_data",
                            "batch",
                            "batch_output",
                            "fine-tune",
                            "fine-tune-results",
                            "evals",
                        ],
                    )
                ),
                name="file_purpose_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="storageuse",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="storageuse_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="storageuse",
            constraint=models.UniqueConstraint(
                fields=("tenant",), name="storageuse_one_per_tenant"
            ),
        ),
        migrations.AddConstraint(
            model_name="storageuse",
            constraint=models.CheckConstraint(
                condition=models.Q(("bytes__gte", 0)), name="storageuse_not_negative"
            ),
        ),
        migrations.AddIndex(
            model_name="chunk",
            index=django.contrib.postgres.indexes.GinIndex(fields=["words"], name="chunk_words"),
        ),
        migrations.AddConstraint(
            model_name="chunk",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="chunk_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="chunk",
            constraint=tenants.constraints.TenantForeignKey(
                field="store_file", name="chunk_store_file_same_tenant", on_delete="CASCADE"
            ),
        ),
        migrations.AddConstraint(
            model_name="chunk",
            constraint=models.UniqueConstraint(
                fields=("tenant", "store_file", "index"), name="chunk_one_per_place"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                condition=models.Q(("status", "pending")), fields=["expires_at"], name="upload_open"
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="upload_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=tenants.constraints.TenantForeignKey(
                field="member", name="upload_member_same_tenant"
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=tenants.constraints.TenantForeignKey(
                field="file", name="upload_file_same_tenant", on_delete="SET NULL"
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["pending", "completed", "cancelled", "expired"])
                ),
                name="upload_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="uploadpart",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="uploadpart_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="uploadpart",
            constraint=tenants.constraints.TenantForeignKey(
                field="upload", name="uploadpart_upload_same_tenant"
            ),
        ),
        migrations.AddIndex(
            model_name="vector",
            index=models.Index(fields=["tenant", "store_ref"], name="vector_by_store"),
        ),
        migrations.AddIndex(
            model_name="vector",
            index=models.Index(fields=["tenant", "chunk"], name="vector_by_chunk"),
        ),
        migrations.AddConstraint(
            model_name="vector",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="vector_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="vector",
            constraint=tenants.constraints.TenantForeignKey(
                field="chunk", name="vector_chunk_same_tenant", on_delete="CASCADE"
            ),
        ),
        migrations.AddIndex(
            model_name="vectorstore",
            index=models.Index(fields=["tenant", "-created_at", "-id"], name="vectorstore_newest"),
        ),
        migrations.AddIndex(
            model_name="vectorstore",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)),
                fields=["deleted_at"],
                name="vectorstore_deleted",
            ),
        ),
        migrations.AddConstraint(
            model_name="vectorstore",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="vectorstore_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="vectorstore",
            constraint=tenants.constraints.TenantForeignKey(
                field="member", name="vectorstore_member_same_tenant"
            ),
        ),
        migrations.AddIndex(
            model_name="storefile",
            index=models.Index(
                fields=["tenant", "store", "-created_at", "-id"], name="storefile_newest"
            ),
        ),
        migrations.AddIndex(
            model_name="storefile",
            index=models.Index(
                condition=models.Q(("status", "in_progress")),
                fields=["created_at"],
                name="storefile_to_index",
            ),
        ),
        migrations.AddConstraint(
            model_name="storefile",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="storefile_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="storefile",
            constraint=tenants.constraints.TenantForeignKey(
                field="store", name="storefile_store_same_tenant", on_delete="CASCADE"
            ),
        ),
        migrations.AddConstraint(
            model_name="storefile",
            constraint=tenants.constraints.TenantForeignKey(
                field="file", name="storefile_file_same_tenant", on_delete="CASCADE"
            ),
        ),
        migrations.AddConstraint(
            model_name="storefile",
            constraint=tenants.constraints.TenantForeignKey(
                field="batch", name="storefile_batch_same_tenant", on_delete="SET NULL"
            ),
        ),
        migrations.AddConstraint(
            model_name="storefile",
            constraint=models.UniqueConstraint(
                fields=("tenant", "store", "file"), name="storefile_once_per_store"
            ),
        ),
        migrations.AddConstraint(
            model_name="storefile",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["in_progress", "completed", "cancelled", "failed"])
                ),
                name="storefile_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="filebatch",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="filebatch_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="filebatch",
            constraint=tenants.constraints.TenantForeignKey(
                field="store", name="filebatch_store_same_tenant", on_delete="CASCADE"
            ),
        ),
    ]
