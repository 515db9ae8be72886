"""Search that stays quick in large stores: each passage of a word is looked at once, and of the
vectors their signs first."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import F, Func

import chat.models.vectors
from tenants.row_level_security import CURRENT_TENANT_SQL, DOORS, SecurityDefinerFunction

# Beyond this many passages with a word of the question, the word tells too little to look at
# each of them; where that is true of all its words, passages with two of them are looked at.
COMMON = 500
# As many of those, with the most and rarest words, are ranked.
RANKED = 1000
# The vectors that agree with the question's in the most signs are compared exactly. In a store
# that has no more vectors than that, it is all of them.
COMPARED = 1500
# A stem of the question as a query, as PostgreSQL reads one.
QUOTED = r"('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery"
# Ids are letters, digits and underscores: nothing in them needs a quote.
STORES = "(SELECT string_agg('''' || s || '''', '|') FROM unnest(stores) s)::tsquery"


class Migration(migrations.Migration):
    dependencies = [("chat", "0014_code_sessions")]

    operations = [
        migrations.AddField(
            "vector",
            "signs",
            chat.models.vectors.Unread(
                expression=Func(F("direction"), function="binary_quantize"),
                output_field=chat.models.vectors.SignsField(),
                db_persist=True,
            ),
        ),
        migrations.AddIndex(
            "vector",
            models.Index(
                fields=["tenant", "store_ref"],
                include=["id", "chunk", "signs"],
                name="vector_signs_by_store",
            ),
        ),
        migrations.RemoveIndex("vector", "vector_by_store"),
        migrations.RunSQL(
            f"GRANT SELECT (id, signs) ON chat_vector TO {DOORS}", migrations.RunSQL.noop
        ),
        # Passages by the words of a question. Scores come from these stores alone: a word
        # counts the more the fewer of their `total` passages have it.
        SecurityDefinerFunction(
            "search_words(stores varchar[], question text, files bigint[], total integer, "
            "most integer)",
            returns="TABLE (chunk_id bigint, score double precision)",
            body=f"""
            WITH asked AS MATERIALIZED (
                SELECT row_number() OVER (ORDER BY lexeme) AS place, length(lexeme) AS letters,
                    {QUOTED} AS alone, {STORES} && {QUOTED} AS within
                FROM unnest(to_tsvector('english', left(question, 8000)))
                ORDER BY lexeme LIMIT 64),
            having_one AS MATERIALIZED (
                SELECT a.place, c.id, c.store_file_id FROM asked a CROSS JOIN LATERAL (
                    SELECT k.id, k.store_file_id FROM chat_chunk k
                    WHERE k.tenant_id = {CURRENT_TENANT_SQL} AND k.words @@ a.within
                    LIMIT {COMMON} + 1) c),
            counted AS MATERIALIZED (
                SELECT a.place, a.alone, a.within, a.letters, n.df,
                    ln(1 + (greatest(total, n.df) - n.df + 0.5) / (n.df + 0.5)) AS weight
                FROM asked a JOIN (
                    SELECT h.place, count(*) AS df FROM having_one h GROUP BY h.place
                ) n USING (place)),
            longest AS MATERIALIZED (
                SELECT q.place, q.alone, q.within FROM counted q
                WHERE (SELECT min(o.df) FROM counted o) > {COMMON}
                ORDER BY q.letters DESC, q.place LIMIT 4),
            having_more AS MATERIALIZED (
                SELECT c.id, c.store_file_id FROM (
                    SELECT a.within && b.alone AS within
                    FROM longest a JOIN longest b ON a.place < b.place
                    UNION SELECT string_agg(q.within::text, ' & ')::tsquery FROM counted q
                    WHERE EXISTS (SELECT FROM longest)) p
                CROSS JOIN LATERAL (
                    SELECT k.id, k.store_file_id FROM chat_chunk k
                    WHERE k.tenant_id = {CURRENT_TENANT_SQL} AND k.words @@ p.within
                    LIMIT {COMMON}) c),
            found AS MATERIALIZED (
                SELECT e.id FROM (
                    SELECT h.id, h.store_file_id, q.weight
                    FROM having_one h JOIN counted q USING (place) WHERE q.df <= {COMMON}
                    UNION ALL SELECT m.id, m.store_file_id, 1 FROM having_more m) e
                WHERE files IS NULL OR e.store_file_id = ANY (files)
                GROUP BY e.id ORDER BY sum(e.weight) DESC, e.id LIMIT {RANKED})
            SELECT f.id, r.score
            FROM found f JOIN chat_chunk c ON c.id = f.id AND c.tenant_id = {CURRENT_TENANT_SQL}
            CROSS JOIN LATERAL (
                SELECT sum(q.weight * ts_rank(c.words, q.alone)) AS score FROM counted q) r
            ORDER BY r.score DESC, f.id LIMIT most
            """,  # nosec B608 - the parts are constants
        ),
        # Passages by direction: by signs, which an index holds, then exactly.
        SecurityDefinerFunction(
            "search_vectors(stores varchar[], towards text, files bigint[], most integer)",
            returns="TABLE (chunk_id bigint, score double precision)",
            body=f"""
            WITH asked AS MATERIALIZED (
                SELECT towards::halfvec AS direction, binary_quantize(towards::halfvec) AS signs),
            near AS MATERIALIZED (
                SELECT n.id FROM asked a CROSS JOIN LATERAL (
                    SELECT v.id FROM chat_vector v
                    WHERE v.tenant_id = {CURRENT_TENANT_SQL} AND v.store_ref = ANY (stores)
                    AND (files IS NULL OR EXISTS (
                        SELECT FROM chat_chunk c WHERE c.id = v.chunk_id
                        AND c.tenant_id = v.tenant_id AND c.store_file_id = ANY (files)))
                    ORDER BY v.signs <~> a.signs LIMIT {COMPARED}) n)
            SELECT v.chunk_id, max(-(v.direction <#> a.direction)) AS score
            FROM asked a CROSS JOIN near n
            JOIN chat_vector v ON v.id = n.id AND v.tenant_id = {CURRENT_TENANT_SQL}
            GROUP BY v.chunk_id ORDER BY score DESC, v.chunk_id LIMIT most
            """,  # nosec B608 - the parts are constants
        ),
    ]
