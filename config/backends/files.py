"""STORAGES entry for uploaded files."""

from __future__ import annotations

from typing import Any


def build_file_storage(
    *, bucket: str, endpoint: str, region: str, access_key: str, secret_key: str
) -> dict[str, Any]:
    """Return the STORAGES entry for files: a bucket if one is named, else a folder.

    Omitted keys are looked up as the AWS tools do, in a profile or the machine's role.
    """
    if not bucket:
        return {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    options = {
        "bucket_name": bucket,
        "endpoint_url": endpoint,
        "region_name": region,
        "access_key": access_key,
        "secret_key": secret_key,
    }
    return {
        "BACKEND": "config.backends.object_storage.ObjectStorage",
        "OPTIONS": {name: value for name, value in options.items() if value},
    }
