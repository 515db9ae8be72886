"""Errors of reading files. The codes are the `last_error` codes of a vector store file."""

from __future__ import annotations


class Unreadable(Exception):
    """A file that cannot be read. `code` is "unsupported_file" or "invalid_file".

    The message is shown to the person who uploaded the file.
    """

    code = "invalid_file"

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class UnsupportedFile(Unreadable):
    """A file of an unsupported type."""

    code = "unsupported_file"
