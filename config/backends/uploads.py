"""Files of forms on their way in."""

from __future__ import annotations

from tempfile import TemporaryFile
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler


class NamelessFileUploadHandler(FileUploadHandler):
    """Keeps a file on disk without a name, so that it is gone with its process."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin one."""
        super().new_file(*args, **kwargs)
        self.content = TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Take the next bytes."""
        self.content.write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile[bytes]:
        """Return it, ready to be read."""
        self.content.seek(0)
        return UploadedFile(
            file=self.content,
            name=self.file_name,
            content_type=self.content_type,
            size=file_size,
            charset=self.charset,
            content_type_extra=self.content_type_extra,
        )

    def upload_interrupted(self) -> None:
        """Let go of what arrived, if anything did."""
        if hasattr(self, "content"):
            self.content.close()
