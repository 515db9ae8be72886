"""Storage of files in an Amazon S3 bucket or on a compatible server."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage

# A larger file is spooled to disk while it is read.
MEMORY_BYTES = 8_388_608
FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage"})


class ObjectStorage(S3Storage):  # type: ignore[misc]
    """Storage in a bucket whose own permissions apply: objects have no ACL and no public URL."""

    def get_default_settings(self) -> dict[str, Any]:
        """Return the defaults of options that the settings omit."""
        checks = "when_required"
        return {
            **super().get_default_settings(),
            "max_memory_size": MEMORY_BYTES,
            "client_config": Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": 3},
                signature_version="s3v4",
                # Many servers do not support checksums in the trailer of a request.
                request_checksum_calculation=checks,
                response_checksum_validation=checks,
            ),
        }

    def _open(self, name: str, mode: str = "rb") -> Any:
        with _as_os_errors():
            found = super()._open(name, mode)
            # Fetch the object here, so that all errors occur in one place.
            found.file  # noqa: B018
            return found

    def _save(self, name: str, content: Any) -> str:
        with _as_os_errors():
            return str(super()._save(name, content))

    def delete(self, name: str) -> None:
        """Delete an object, and any unfinished multipart upload that a crash left."""
        with _as_os_errors():
            super().delete(name)
            for upload in self.bucket.multipart_uploads.filter(Prefix=name):
                upload.abort()


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Raise the errors of a bucket as the OSErrors that a disk raises."""
    try:
        yield
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        if _has_no_room(error):
            raise OSError(errno.ENOSPC, "The bucket is full.") from error
        raise OSError("The bucket is not available.") from error


def _has_no_room(error: Exception) -> bool:
    """Return True for the errors that S3 servers send when their disk or quota is full."""
    refused: BaseException | None = error
    while refused is not None and not isinstance(refused, ClientError):
        refused = refused.__cause__ or refused.__context__
    if refused is None:
        return False
    status = refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == 507 or refused.response.get("Error", {}).get("Code") in FULL
