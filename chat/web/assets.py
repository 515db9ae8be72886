"""Assets of the chat page, and the storage that names static files."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage

STYLE_SHEETS = (
    "chat/frame.css",
    "chat/side.css",
    "chat/transcript.css",
    "chat/prose.css",
    "chat/composer.css",
    "chat/files.css",
    "chat/sources.css",
)

# Preloaded in parallel instead of one import after another.
MODULES = tuple(
    f"chat/{name}.js"
    for name in (
        "account",
        "announce",
        "answer",
        "appearance",
        "approvals",
        "assistants",
        "attachments",
        "banner",
        "calls",
        "citations",
        "composer",
        "conversation",
        "copy",
        "days",
        "decorate",
        "dialogs",
        "dom",
        "drafts",
        "drawer",
        "drop",
        "facts",
        "files",
        "grammar",
        "header",
        "highlight",
        "http",
        "made",
        "markdown",
        "math",
        "menu",
        "outbox",
        "own",
        "page",
        "page-data",
        "passage",
        "pictures",
        "plain",
        "problems",
        "queue",
        "readers",
        "scroll",
        "sender",
        "shortcuts",
        "socket",
        "source",
        "steps",
        "storage",
        "subscription",
        "threads",
        "toast",
        "transcript",
        "unattended",
        "vendor/markdown",
        "welcome",
    )
)


class ModuleStorage(CompressedManifestStaticFilesStorage):
    """Static files storage with hashed names, also in imports, and compressed copies."""

    support_js_module_import_aggregation = True
    # One pass per import level; the page has more levels than Django's default of 5.
    max_post_process_passes = 15
