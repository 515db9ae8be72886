"""Database steps of the indexing job, run on the test's thread and in its transaction."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F

from chat.models import StoreFile
from chat.retrieval import index
from chat.retrieval.index import IndexedFile, IndexTask
from tests.world import Company


def store_indexed(task: IndexTask, indexed: IndexedFile) -> None:
    """Store a claimed file's passages and mark it as completed."""
    assert index.begin_storing(task, indexed)
    for piece in index.iter_batches(task, indexed):
        index.store_batch(task, piece)
    index.complete_file(task, indexed)


def lapse_claim(company: Company, row: StoreFile) -> None:
    """Backdate the claim of a file by one hour."""
    with company.scope():
        StoreFile.objects.filter(pk=row.pk).update(claimed_at=F("claimed_at") - timedelta(hours=1))
