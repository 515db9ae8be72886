"""The second wall around files and vector stores; the doors of search and of removal."""

from __future__ import annotations

from django.db import migrations

from tenants.row_level_security import (
    CURRENT_TENANT_SQL,
    EnableRowLevelSecurity,
    SecurityDefinerFunction,
)

# Beyond this many passages with a word of the question, the word tells too little to look at
# each of them; the passages with all words are looked at in any case.
COMMON = 2000
# A stem of the question as a query, as PostgreSQL reads one.
QUOTED = r"('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery"
# Ids are letters, digits and underscores: nothing in them needs a quote.
STORES = "(SELECT string_agg('''' || s || '''', '|') FROM unnest(stores) s)::tsquery"


class Migration(migrations.Migration):
    dependencies = [("chat", "0011_knowledge")]

    operations = [
        EnableRowLevelSecurity(
            "file",
            door_columns=("id", "tenant_id", "created_at", "stored_at", "expires_at", "deleted_at"),
        ),
        EnableRowLevelSecurity("storageuse"),
        EnableRowLevelSecurity("upload", door_columns=("id", "tenant_id", "status", "expires_at")),
        EnableRowLevelSecurity("uploadpart"),
        EnableRowLevelSecurity("vectorstore", door_columns=("id", "tenant_id", "deleted_at")),
        EnableRowLevelSecurity("filebatch"),
        EnableRowLevelSecurity(
            "storefile", door_columns=("id", "tenant_id", "status", "created_at", "claimed_at")
        ),
        EnableRowLevelSecurity(
            "chunk", door_columns=("id", "tenant_id", "store_file_id", "store_ref", "words")
        ),
        EnableRowLevelSecurity(
            "vector", door_columns=("tenant_id", "store_ref", "chunk_id", "direction")
        ),
        # Passages by the words of a question. Scores come from these stores alone: a word
        # counts the more the fewer of their `total` passages have it.
        SecurityDefinerFunction(
            "search_words(stores varchar[], question text, files bigint[], total integer, "
            "most integer)",
            returns="TABLE (chunk_id bigint, score double precision)",
            body=f"""
            WITH asked AS MATERIALIZED (
                SELECT {QUOTED} AS alone, {STORES} && {QUOTED} AS within
                FROM unnest(to_tsvector('english', left(question, 8000)))
                ORDER BY lexeme LIMIT 64),
            counted AS MATERIALIZED (
                SELECT a.alone, a.within, n.df,
                    ln(1 + (greatest(total, n.df) - n.df + 0.5) / (n.df + 0.5)) AS weight
                FROM asked a CROSS JOIN LATERAL (
                    SELECT count(*) AS df FROM (
                        SELECT FROM chat_chunk c
                        WHERE c.tenant_id = {CURRENT_TENANT_SQL} AND c.words @@ a.within
                        LIMIT {COMMON} + 1) seen) n
                WHERE n.df > 0),
            found AS (
                SELECT c.id, c.words, c.store_file_id FROM counted q CROSS JOIN LATERAL (
                    SELECT k.id, k.words, k.store_file_id FROM chat_chunk k
                    WHERE k.tenant_id = {CURRENT_TENANT_SQL} AND k.words @@ q.within
                    ORDER BY k.id LIMIT {COMMON}) c
                WHERE q.df <= {COMMON}
                UNION
                (SELECT c.id, c.words, c.store_file_id FROM chat_chunk c
                WHERE c.tenant_id = {CURRENT_TENANT_SQL} AND c.words @@ (
                    SELECT string_agg(q.within::text, ' & ')::tsquery FROM counted q)
                ORDER BY c.id LIMIT {COMMON}))
            SELECT f.id, sum(q.weight * ts_rank(f.words, q.alone)) AS score
            FROM found f JOIN counted q ON f.words @@ q.alone
            WHERE files IS NULL OR f.store_file_id = ANY (files)
            GROUP BY f.id ORDER BY score DESC, f.id LIMIT most
            """,  # nosec B608 - the parts are constants
        ),
        # Passages by direction, exactly: every vector of these stores is looked at.
        SecurityDefinerFunction(
            "search_vectors(stores varchar[], towards text, files bigint[], most integer)",
            returns="TABLE (chunk_id bigint, score double precision)",
            body=f"""
            SELECT near.chunk_id, max(near.score) AS score FROM (
                SELECT v.chunk_id, -(v.direction <#> towards::halfvec) AS score
                FROM chat_vector v
                WHERE v.tenant_id = {CURRENT_TENANT_SQL} AND v.store_ref = ANY (stores)
                AND (files IS NULL OR EXISTS (
                    SELECT FROM chat_chunk c WHERE c.id = v.chunk_id
                    AND c.tenant_id = v.tenant_id AND c.store_file_id = ANY (files)))
                ORDER BY v.direction <#> towards::halfvec LIMIT most * 6) near
            GROUP BY near.chunk_id ORDER BY score DESC, near.chunk_id LIMIT most
            """,  # nosec B608 - the parts are constants
        ),
        # Files in stores that nobody reads, or whose reader died.
        SecurityDefinerFunction(
            "files_to_index(lapse_seconds double precision, most integer)",
            returns="TABLE (store_file_id bigint, tenant_id uuid)",
            body="SELECT f.id, f.tenant_id FROM chat_storefile f WHERE f.status = 'in_progress' "
            "AND (f.claimed_at IS NULL "
            "OR f.claimed_at < now() - make_interval(secs => lapse_seconds)) "
            "ORDER BY f.created_at LIMIT most",
        ),
        # Files that never arrived whole, were deleted, or have expired.
        SecurityDefinerFunction(
            "files_to_remove(arrive_seconds double precision, most integer)",
            returns="TABLE (file_id varchar, tenant_id uuid)",
            body="SELECT f.id, f.tenant_id FROM chat_file f WHERE f.deleted_at IS NOT NULL "
            "OR f.expires_at < now() OR (f.stored_at IS NULL "
            "AND f.created_at < now() - make_interval(secs => arrive_seconds)) "
            "ORDER BY f.created_at LIMIT most",
        ),
        SecurityDefinerFunction(
            "uploads_to_end(most integer)",
            returns="TABLE (upload_id varchar, tenant_id uuid)",
            body="SELECT u.id, u.tenant_id FROM chat_upload u "
            "WHERE u.status = 'pending' AND u.expires_at < now() ORDER BY u.expires_at LIMIT most",
        ),
        SecurityDefinerFunction(
            "stores_to_remove(most integer)",
            returns="TABLE (store_id varchar, tenant_id uuid)",
            body="SELECT s.id, s.tenant_id FROM chat_vectorstore s "
            "WHERE s.deleted_at IS NOT NULL ORDER BY s.deleted_at LIMIT most",
        ),
    ]
