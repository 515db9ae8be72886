"""Two companies' stores of a hundred thousand passages each, made in PostgreSQL at once.

Words are drawn as often as English uses them, so that a question meets common and rare ones;
directions are random, for which a search takes as long as for any others. Keys are not checked
meanwhile: the rows fit, and their look-ups would take longer than all else.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from config.local import embedded
from config.local.embedded import MAIN
from tests.benchmarks.stand import COMPANY, NEIGHBOUR, Stand

PASSAGES, FILES, DIMENSIONS = 100_000, 200, 384
WORDS_EACH, WORDS_ASKED = 110, 10
EMBEDDING = "all-MiniLM-L6-v2-int8:384"
STORE, OTHER_STORE = "vs_" + "b" * 24, "vs_" + "c" * 24
# The local embedder's words, the most used first, from the first one that is no part of a word.
VOCABULARY = Path(__file__).parents[2] / "chat" / "retrieval" / "minilm" / "vocab.txt"
FIRST_WORD = 1996

_STORE = """INSERT INTO chat_vectorstore (id, name, description, embedding, metadata,
    last_active_at, created_at, tenant_id)
    SELECT %s, '', '', %s, '{}', now(), now(), id FROM tenants_tenant WHERE slug = %s"""
_FILES = """INSERT INTO chat_file (id, purpose, filename, media_type, bytes, sha256, storage_key,
    created_at, stored_at, tenant_id)
    SELECT 'file-' || left(s.id, 4) || lpad(n::text, 20, '0'), 'assistants', n || '.txt',
    'text/plain', 1, '', s.id || n, now(), now(), s.tenant_id
    FROM chat_vectorstore s, generate_series(1, %s) n WHERE s.id = %s"""
_STORE_FILES = """INSERT INTO chat_storefile (store_id, file_id, status, error_code, error_message,
    attributes, max_chunk_tokens, overlap_tokens, chosen_chunking, text, pages, usage_bytes,
    chunk_count, tries, created_at, tenant_id)
    SELECT s.id, f.id, 'completed', '', '', '{}', 200, 0, true, '', '[]', 0, %s, 1, now(),
    s.tenant_id FROM chat_vectorstore s JOIN chat_file f ON f.storage_key LIKE s.id || '%%'
    WHERE s.id = %s ORDER BY f.created_at, f.id"""
_CHUNKS = 'COPY chat_chunk (store_file_id, store_ref, "index", start, "end", text, tenant_id)'
_SAME_CHUNKS = """INSERT INTO chat_chunk (store_file_id, store_ref, "index", start, "end", text,
    tenant_id)
    SELECT o.id, o.store_id, c."index", c.start, c."end", c.text, o.tenant_id
    FROM chat_chunk c JOIN chat_storefile s ON s.id = c.store_file_id
    JOIN chat_storefile o ON o.store_id = %s AND right(o.file_id, 20) = right(s.file_id, 20)
    WHERE c.store_ref = %s ORDER BY o.id, c."index" """
_VECTORS = """INSERT INTO chat_vector (store_ref, chunk_id, direction, tenant_id)
    SELECT c.store_ref, c.id, l2_normalize((SELECT array_agg(random() - 0.5)
    FROM generate_series(1, %s) WHERE c.id > 0)::halfvec), c.tenant_id FROM chat_chunk c
    WHERE c.store_ref = ANY (%s) ORDER BY c.id"""
_TEXTS = """UPDATE chat_storefile f SET text = (
    SELECT string_agg(c.text, E'\\n\\n' ORDER BY c."index") FROM chat_chunk c
    WHERE c.store_file_id = f.id) WHERE f.store_id = ANY (%s)"""


def texts(count: int, words: int, *, seed: int) -> Iterator[str]:
    """Yield texts of so many words, the same for the same seed."""
    vocabulary = VOCABULARY.read_text().split("\n")[FIRST_WORD:]
    known = [word for word in vocabulary if re.fullmatch("[a-z]{2,}", word)]
    # Zipf's law: the n-th word is used a n-th as often as the first.
    weights = list(accumulate(1 / (place + 3) for place in range(len(known))))
    drawn = random.Random(seed)
    for _ in range(count):
        yield " ".join(drawn.choices(known, cum_weights=weights, k=words))


def questions(count: int) -> list[str]:
    """Return questions whose words are as common as those of the passages."""
    return list(texts(count, WORDS_ASKED, seed=8))


def fill(stand: Stand) -> UUID:
    """Make both stores, the neighbour's with the same texts; returns the first one's company."""
    stores = {COMPANY: STORE, NEIGHBOUR: OTHER_STORE}
    with (
        embedded.running(stand.data_dir) as cluster,
        cluster.connect_as_superuser(MAIN) as database,
    ):
        database.execute("SET session_replication_role = replica")
        database.execute("SET synchronous_commit = off")
        for slug, store in stores.items():
            database.execute(_STORE, [store, EMBEDDING, slug])
            database.execute(_FILES, [FILES, store])
            database.execute(_STORE_FILES, [PASSAGES // FILES, store])
        tenant_id = _copy_passages(database)
        database.execute(_SAME_CHUNKS, [OTHER_STORE, STORE])
        database.execute(_TEXTS, [list(stores.values())])
        database.execute(_VECTORS, [DIMENSIONS, list(stores.values())])
        database.execute("VACUUM ANALYZE")
    return tenant_id


def _copy_passages(database: psycopg.Connection[Any]) -> UUID:
    files = database.execute(
        "SELECT id, tenant_id FROM chat_storefile WHERE store_id = %s ORDER BY id", [STORE]
    ).fetchall()
    drawn = texts(PASSAGES, WORDS_EACH, seed=7)
    with database.cursor() as cursor, cursor.copy(f"{_CHUNKS} FROM STDIN") as copy:
        for file, tenant in files:
            start = 0
            for number in range(PASSAGES // FILES):
                text = next(drawn)
                end = start + len(text)
                copy.write_row((file, STORE, number, start, end, text, tenant))
                start = end + 2
    return UUID(str(files[0][1]))
