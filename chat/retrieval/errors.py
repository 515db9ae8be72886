"""Why a file could not be read; the codes are those of a vector store's file."""

from __future__ import annotations


class Unreadable(Exception):
    """A file that cannot be used. `code` is "unsupported_file" or "invalid_file".

    The message is a sentence for the person who uploaded it.
    """

    code = "invalid_file"

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class UnsupportedFile(Unreadable):
    """A kind of file that nothing here reads."""

    code = "unsupported_file"
