"""What the indexing job does with rows, on the thread and in the transaction of the test."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F

from chat.models import StoreFile
from chat.retrieval import index
from chat.retrieval.index import IndexedFile, IndexTask
from tests.world import Company


def store_indexed(task: IndexTask, indexed: IndexedFile) -> None:
    """Write a claimed file's passages and complete it."""
    assert index.begin_storing(task, indexed)
    for piece in index.iter_batches(task, indexed):
        index.store_batch(task, piece)
    index.complete_file(task, indexed)


def lapse_claim(company: Company, row: StoreFile) -> None:
    """Let the claim of a file be an hour older than it is."""
    with company.scope():
        StoreFile.objects.filter(pk=row.pk).update(claimed_at=F("claimed_at") - timedelta(hours=1))
