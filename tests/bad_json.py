"""Invalid JSON documents and field values that every endpoint must reject."""

from __future__ import annotations

from typing import Any

# Documents by their error; `{field}` is the name of a field that the endpoint accepts.
BAD_JSON: dict[str, bytes] = {
    "nothing at all": b" ",
    "not JSON": b"title=x",
    "cut short": b'{"{field}": "x"',
    "two documents": b'{"{field}": "x"} {}',
    "an array": b"[]",
    "null": b"null",
    "a string": b'"x"',
    "a duplicate key": b'{"{field}": "x", "{field}": "x"}',
    "a duplicate key inside": b'{"{field}": {"a": 1, "a": 2}}',
    "a NUL": b'{"{field}": "a\x00b"}',
    "an escaped NUL": b'{"{field}": "a\\u0000b"}',
    "an escaped NUL in a key": b'{"a\\u0000b": "x"}',
    "half a surrogate pair": b'{"{field}": "\\ud800"}',
    "the other half": b'{"{field}": "\\udc00x"}',
    "half a pair in a key": b'{"\\ud800": "x"}',
    "NaN": b'{"{field}": NaN}',
    "infinity": b'{"{field}": -Infinity}',
    "1e400": b'{"{field}": 1e400}',
    "thousands of digits": b'{"{field}": ' + b"9" * 5000 + b"}",
    "thousands of digits after a point": b'{"{field}": 1e' + b"9" * 5000 + b"}",
    "deep arrays": b'{"{field}": ' + b"[" * 33 + b"]" * 33 + b"}",
    "very deep arrays": b'{"{field}": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep objects": b'{"a": ' * 33 + b"1" + b"}" * 33,
    "many arrays": b'{"{field}": [' + b"[]," * 60_000 + b"[]]}",
    "unclosed depth": b"[" * 30_000,
    "invalid UTF-8": b'{"{field}": "\xff\xfe"}',
    "an overlong NUL": b'{"{field}": "\xc0\x80"}',
    "an encoded surrogate": b'{"{field}": "\xed\xa0\x80"}',
    "UTF-16": '{"{field}": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"{field}": "x"}',
    "a comment": b'{"{field}": "x" /* no */}',
    "a trailing comma": b'{"{field}": "x",}',
    "single quotes": b"{'{field}': 'x'}",
}

WRONG_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**53, "", "x" * 300, [], ["x"], {}, {"a": 1}, [[]],
    "thread_", "thread_" + "a" * 23, "thread_" + "a" * 25, "thread_" + "é" * 24,
    "THREAD_" + "a" * 24, "thread_" + "a" * 24 + "\n", "run_" + "a" * 24, "../../etc/passwd",
    "' OR 1=1 --", "%00", "\u202e", "٣",
)  # fmt: skip

ID_FORMS = (
    "x", "thread_", "thread_" + "a" * 23, "thread_" + "a" * 25, "thread_" + "a" * 5000,
    "THREAD_" + "a" * 24, "run_" + "a" * 24, "%00", "thread_%00" + "a" * 23, "%ff%fe", "%ed%a0%80",
    "..%2f..%2fetc", "thread_" + "%C3%A9" * 24, "thread_" + "a" * 24 + "%0a", "null", "0", "-1",
    "' OR 1=1 --", "{}", "thread_*",
)  # fmt: skip


def build_bad_bodies(field: str) -> dict[str, bytes]:
    """Return all bad documents with this field name."""
    return {name: raw.replace(b"{field}", field.encode()) for name, raw in BAD_JSON.items()}
