"""Files made for the tests: whole ones, and hostile ones."""

from __future__ import annotations

from io import BytesIO

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from tests.retrieval.office_files import archive

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def pdf(*pages: str, password: str | None = None) -> bytes:
    """Return a PDF with a line of text on each page."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(width=400, height=400)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def docx(*paragraphs: str, document: bytes | None = None) -> bytes:
    """Return a Word file with these paragraphs, or with `document` as its main part."""
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    xml = f'<w:document xmlns:w="{_W}"><w:body>{body}</w:body></w:document>'
    return archive({"word/document.xml": xml if document is None else document})


def zip_bomb(size: int) -> bytes:
    """Return a Word file whose main part unpacks to `size` bytes."""
    return docx(document=b" " * size)


EXTERNAL_ENTITY = docx(
    document=b'<!DOCTYPE w [<!ENTITY leak SYSTEM "file:///etc/passwd">]>'
    b'<w:document xmlns:w="' + _W.encode() + b'"><w:body><w:p><w:r><w:t>&leak;</w:t></w:r></w:p>'
    b"</w:body></w:document>"
)
