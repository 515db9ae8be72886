"""Files in a bucket, tested over HTTP against a real server for the S3 protocol."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from django.core.files.storage import default_storage
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from moto.server import ThreadedMotoServer

from chat import storage
from chat.actions.files import manage as actions
from chat.errors import FileTooLarge
from chat.models import File, StoreFile
from chat.retrieval import embed, pipeline
from chat.tasks import erase_files
from config.backends.storages import build_file_storage
from tests.api.conftest import Api, assert_error, program_of, upload, uploaded
from tests.database import CHECKOUT
from tests.retrieval import files
from tests.retrieval.conftest import make_store
from tests.world import World

BUCKET = "atrium-files"
KEYS = {"access_key": "canary-access", "secret_key": "canary-secret"}
BEYOND_ONE_PART = b"0123456789" * 900_000


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Server for the S3 protocol."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def bucket(endpoint: str, settings: Any) -> Iterator[Any]:
    """Store the files of this test in a separate bucket."""
    entry = build_file_storage(bucket=BUCKET, endpoint=endpoint, region="us-east-1", **KEYS)
    settings.STORAGES = {**settings.STORAGES, "default": entry}
    found = default_storage.bucket  # type: ignore[attr-defined]
    found.create()
    yield found
    found.objects.delete()
    for begun in found.multipart_uploads.all():
        begun.abort()
    found.delete()


@pytest.fixture
def alice(world: World) -> Api:
    return program_of(world.acme, "alice")


def left(bucket: Any) -> list[str]:
    """Return the objects and incomplete uploads in the bucket."""
    whole = [item.key for item in bucket.objects.all()]
    return whole + [upload.object_key for upload in bucket.multipart_uploads.all()]


def written_by_alice(world: World, data: bytes, **fields: Any) -> File:
    alice = world.acme.principal("alice")
    return actions.create_file(alice, BytesIO(data), filename="a.txt", purpose="assistants")


def test_a_file_comes_back_and_goes(alice: Api, bucket: Any) -> None:
    made = uploaded(alice, b"words")
    assert alice.get(f"files/{made['id']}/content").content == b"words"
    assert len(left(bucket)) == 1
    alice.delete(f"files/{made['id']}")
    asyncio.run(erase_files(0))
    assert left(bucket) == []


def test_nobody_reads_an_object_without_the_keys(alice: Api, bucket: Any, endpoint: str) -> None:
    uploaded(alice, b"secret")
    [key] = left(bucket)
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{endpoint}/{BUCKET}/{key}")
    refused.value.close()
    assert refused.value.code == 403


def test_what_is_sent_in_parts_is_whole(world: World) -> None:
    row = written_by_alice(world, BEYOND_ONE_PART)
    assert row.bytes == len(BEYOND_ONE_PART)
    with default_storage.open(row.storage_key) as content:
        assert content.read() == BEYOND_ONE_PART


def test_what_arrives_in_small_pieces_is_whole(world: World) -> None:
    class Slow(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 65_536) if size != -1 else size)

    row = File(member=world.acme.alice, tenant=world.acme.tenant, purpose="user_data")
    storage.write_new(row, Slow(BEYOND_ONE_PART))
    with default_storage.open(row.storage_key) as content:
        assert content.read() == BEYOND_ONE_PART


def test_one_that_turns_out_too_large_leaves_nothing(world: World, bucket: Any) -> None:
    row = File(member=world.acme.alice, tenant=world.acme.tenant, purpose="user_data")
    with pytest.raises(FileTooLarge):
        storage.write_new(row, BytesIO(BEYOND_ONE_PART), most=len(BEYOND_ONE_PART) - 1)
    asyncio.run(erase_files(0))
    assert left(bucket) == []


def test_what_a_crash_left_is_removed(world: World, bucket: Any) -> None:
    alice = world.acme.principal("alice")
    given: Any = {"filename": "a", "purpose": "user_data"}
    whole = actions.receive_file(alice, BytesIO(b"whole, not kept"), **given)
    cut = actions.receive_file(alice, BytesIO(b"cut"), **given)
    default_storage.delete(cut.storage_key)
    bucket.Object(cut.storage_key).initiate_multipart_upload().Part(1).upload(Body=b"half")
    assert sorted(left(bucket)) == sorted([whole.storage_key, cut.storage_key])
    with world.acme.scope(), transaction.atomic():
        File.objects.update(created_at=timezone.now() - timedelta(days=1))
    asyncio.run(erase_files(0))
    assert left(bucket) == []


def test_a_lost_object_is_told_as_unknown(alice: Api, bucket: Any) -> None:
    made = uploaded(alice, b"words")
    bucket.objects.delete()
    assert_error(alice.get(f"files/{made['id']}/content"), 404, param="file_id")


def test_a_bucket_that_is_away_is_told_of(alice: Api, settings: Any) -> None:
    made = uploaded(alice, b"words")
    away = build_file_storage(
        bucket=BUCKET, endpoint="http://127.0.0.1:9", region="us-east-1", **KEYS
    )
    with override_settings(STORAGES={**settings.STORAGES, "default": away}):
        assert_error(upload(alice, b"words"), 503, code="unavailable")
        assert_error(alice.get(f"files/{made['id']}/content"), 503, code="unavailable")
    assert [item["id"] for item in alice.get("files").json()["data"]] == [made["id"]]


def test_a_file_of_the_bucket_becomes_searchable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "_built", [None])
    store, row = make_store(world.acme), written_by_alice(world, files.pdf("Walnuts"))
    with world.acme.scope():
        filed = StoreFile.objects.create(store=store, file=row)
    asyncio.run(pipeline.index_file(world.acme.tenant.pk, filed.pk))
    with world.acme.scope(), transaction.atomic():
        assert StoreFile.objects.get(pk=filed.pk).text == "Walnuts"


def test_the_variables_name_the_bucket() -> None:
    variables = {
        "ATRIUM_S3_BUCKET": "b",
        "ATRIUM_S3_ENDPOINT": "http://127.0.0.1:9",
        "ATRIUM_S3_ACCESS_KEY": "k",
        "ATRIUM_S3_SECRET_KEY": "s",
    }
    code = (
        "from config.settings import STORAGES\n"
        "from config.backends.object_storage import ObjectStorage\n"
        "s = ObjectStorage(**STORAGES['default']['OPTIONS'])\n"
        "print(s.bucket_name, s.endpoint_url, s.access_key, s.secret_key)"
    )
    env = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.stdout.split() == ["b", "http://127.0.0.1:9", "k", "s"], done.stderr
