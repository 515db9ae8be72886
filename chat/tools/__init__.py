"""The trust boundary between what a model writes and what a tenant owns.

Autodiscovery imports this package as the `tools` of the chat app: the built-in
tools are named here.
"""

from __future__ import annotations

from chat.tools import code_interpreter, file_search, search_thread

__all__ = ["code_interpreter", "file_search", "search_thread"]
