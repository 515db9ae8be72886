"""Vector stores: sets of files searched together, and their search index."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat import ids
from chat.models.assistants import Assistant
from chat.models.files import File, FileQuerySet, build_owner_filter
from chat.models.resources import get_store_ids
from tenants import clock
from tenants.authentication import Principal
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import Membership


class VectorStoreQuerySet(TenantQuerySet["VectorStore"]):
    """Vector stores of the tenant in scope."""

    def alive(self) -> VectorStoreQuerySet:
        """Exclude deleted stores; expired stores are included."""
        return self.filter(deleted_at=None)

    def visible_to(self, principal: Principal) -> VectorStoreQuerySet:
        """Return the principal's own stores, for admins also the company's."""
        return self.alive().filter(build_owner_filter(principal))


class VectorStore(TenantModel):
    """A set of files that are searched together.

    Stores without a `member` belong to the company and are used by assistants; threads
    use stores of their owner. All vectors of a store come from the same `embedding`,
    fixed by its first indexed file; "" means full-text search without vectors.
    """

    id = models.CharField(primary_key=True, max_length=40, default=ids.store_id, editable=False)
    member = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    name = models.CharField(_("name"), max_length=256, blank=True)
    description = models.CharField(_("description"), max_length=512, blank=True)
    embedding = models.CharField(max_length=300, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    expires_days = models.IntegerField(null=True)
    last_active_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    deleted_at = models.DateTimeField(null=True)
    # When the chunks of an expired store were deleted: it is never searched again.
    emptied_at = models.DateTimeField(null=True)
    # The store was created for a chat and is deleted with the last chat that refers to it.
    goes_with_threads = models.BooleanField(default=False, db_default=False)
    # Incremented by a trigger on each change of a field that a form shows.
    version = models.IntegerField(default=1, db_default=1, editable=False)

    objects: ClassVar[TenantManager] = TenantManager.of(VectorStoreQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("document collection")
        verbose_name_plural = _("document collections")
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints(
            "vectorstore", member="NO ACTION"
        )
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="vectorstore_newest"),
            models.Index(
                fields=["deleted_at"],
                condition=models.Q(deleted_at__isnull=False),
                name="vectorstore_deleted",
            ),
            models.Index(
                fields=["last_active_at"],
                condition=models.Q(expires_days__isnull=False, emptied_at=None),
                name="vectorstore_expiring",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.id

    @property
    def expires_at(self) -> datetime | None:
        """The time when the store expires if it stays unused, None without expiry."""
        if self.expires_days is None:
            return None
        return self.last_active_at + timedelta(days=self.expires_days)

    @property
    def is_expired(self) -> bool:
        """True if the store was unused for longer than its expiry."""
        return self.expires_at is not None and self.expires_at < clock.now()


class IndexStatus(models.TextChoices):
    """Indexing statuses of a file or batch in a store, as in the Assistants API."""

    IN_PROGRESS = "in_progress", _("being read")
    COMPLETED = "completed", _("ready")
    CANCELLED = "cancelled", _("stopped")
    FAILED = "failed", _("failed")


class FileBatch(TenantModel):
    """Files added to a store together; the batch's status derives from its files."""

    id = models.CharField(primary_key=True, max_length=40, default=ids.batch_id, editable=False)
    store = models.ForeignKey(
        VectorStore, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    cancelled_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints(
            "filebatch", store="CASCADE"
        )

    def __str__(self) -> str:
        return self.id


class StoreFile(TenantModel):
    """A file in a store. `text` is the extracted text, which chunks and citations refer to."""

    id = models.BigAutoField(primary_key=True)
    store = models.ForeignKey(
        VectorStore, on_delete=models.DO_NOTHING, db_constraint=False, related_name="files"
    )
    file = models.ForeignKey(File, on_delete=models.DO_NOTHING, db_constraint=False)
    batch = models.ForeignKey(
        FileBatch, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="files"
    )
    status = models.CharField(
        max_length=12, choices=IndexStatus.choices, default=IndexStatus.IN_PROGRESS
    )
    error_code = models.CharField(max_length=20, blank=True)
    error_message = models.CharField(max_length=300, blank=True)
    attributes = models.JSONField(default=dict, blank=True)
    max_chunk_tokens = models.IntegerField(default=800)
    overlap_tokens = models.IntegerField(default=400)
    # False is "auto", which uses the same sizes as static 800/400.
    chosen_chunking = models.BooleanField(default=False)
    text = models.TextField(blank=True)
    pages = models.JSONField(default=list)
    usage_bytes = models.BigIntegerField(default=0)
    chunk_count = models.IntegerField(default=0)
    # Failed indexing attempts.
    tries = models.IntegerField(default=0)
    # Fencing token, incremented by each claim: an indexer with an old token writes nothing.
    token = models.IntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(default=timezone.now)
    # Null while unclaimed. A file whose claim expired is indexed again.
    claimed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        verbose_name = _("document")
        verbose_name_plural = _("documents")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints(
                "storefile", store="CASCADE", file="CASCADE", batch="SET NULL"
            ),
            models.UniqueConstraint(
                fields=["tenant", "store", "file"], name="storefile_once_per_store"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=IndexStatus.values), name="storefile_status_known"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant", "store", "-created_at", "-id"], name="storefile_newest"),
            models.Index(
                fields=["created_at"],
                condition=models.Q(status="in_progress"),
                name="storefile_to_index",
            ),
        ]

    def __str__(self) -> str:
        return self.file_id


def get_page_number(pages: Iterable[int], offset: int) -> int | None:
    """Return the 1-based number of the page that contains `offset`; None without pages."""
    return sum(1 for begin in pages if begin <= offset) or None


def list_readable_files(principal: Principal) -> FileQuerySet:
    """Return the principal's own files and the company files their assistants search.

    This lets members open a company document that an answer cites.
    """
    assistants = Assistant.objects.visible_to(principal).only("tools", "tool_resources")
    searched = [
        store
        for assistant in assistants
        for store in get_store_ids(assistant.get_usable_resources())
    ]
    stores = VectorStore.objects.alive().filter(pk__in=searched, member=None)
    documents = StoreFile.objects.filter(store__in=stores).values("file_id")
    company = models.Q(member_id=None, pk__in=documents)
    files: FileQuerySet = File.objects.alive()
    return files.filter(build_owner_filter(principal) | company)


class SearchWords(models.Func):
    """A tsvector of a text's stems plus the ID of its store.

    With the ID as a lexeme, the index finds the words of one store directly, however many
    chunks of other stores contain them.
    """

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **context: Any) -> Any:
        """Return the SQL expression; it is immutable, as a stored generated column requires."""
        text, params = compiler.compile(self.source_expressions[0])
        store, store_params = compiler.compile(self.source_expressions[1])
        sql = f"to_tsvector('english', {text}) || array_to_tsvector(ARRAY[{store}::text])"
        return sql, [*params, *store_params]


class Chunk(TenantModel):
    """A passage of a file in a store: its text from `start` to `end` (code points)."""

    id = models.BigAutoField(primary_key=True)
    store_file = models.ForeignKey(
        StoreFile, on_delete=models.DO_NOTHING, db_constraint=False, related_name="chunks"
    )
    # The store's ID, denormalised so that a search needs no join.
    store_ref = models.CharField(max_length=40)
    index = models.IntegerField()
    start = models.IntegerField()
    end = models.IntegerField()
    text = models.TextField()
    words: Any = models.GeneratedField(
        expression=SearchWords("text", "store_ref"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("chunk", store_file="CASCADE"),
            models.UniqueConstraint(
                fields=["tenant", "store_file", "index"], name="chunk_one_per_place"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [GinIndex(fields=["words"], name="chunk_words")]

    def __str__(self) -> str:
        return f"{self.store_ref} {self.index}"
