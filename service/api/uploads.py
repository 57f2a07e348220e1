"""A request's images: one as the body itself, or several as files of a form."""

import logging
import re
from dataclasses import dataclass
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from service.errors import BadRequestError, InvalidParameterError, TooManyImagesError
from service.spelling import quoted

FORM_FIELD = "files"
_EXTENDED_NAME = re.compile(rb"""filename\*\s*=\s*"?[^';]*'[^';]*'([^\s;"]+)""", re.IGNORECASE)

# A broken form is its sender's fault. The answer says so; a line in the log would help nobody.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Upload:
    """One file of a form.

    Attributes:
        name: the client's name for it; empty without one.
        body: its bytes.
    """

    name: str
    body: bytes


def is_form(request: Request) -> bool:
    """Whether the body is ``multipart/form-data``."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_form(request: Request, max_images: int) -> list[Upload]:
    """The files of a form, in order. They are held in memory, and ByteBudget bounds them.

    Raises:
        BadRequestError: the form is malformed, or cut short.
        InvalidParameterError: the form has no file, or a field of another name.
        TooManyImagesError: the form has more than ``max_images`` files.
    """
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadRequestError(
            "The Content-Type of the form has no boundary. HTTP libraries write this header "
            "themselves if it is not set."
        )
    form = _Form(max_images)
    try:
        parser = form.parser(boundary)
        async for chunk in request.stream():
            parser.write(chunk)
    except FormParserError:
        raise BadRequestError(
            "The form is malformed: it must begin with the boundary of its Content-Type, and its "
            "lines must end with CR LF."
        ) from None
    if not form.is_complete:
        raise BadRequestError("The form is cut short: its closing boundary is missing.")
    if not form.uploads:
        raise InvalidParameterError(f"The form has no file in a field named {FORM_FIELD!r}.")
    return form.uploads


class _Form:
    """The parts of a form, as the parser finds them.

    Attributes:
        uploads: the parts that were read to their end.
        is_complete: whether the closing boundary was read.
    """

    def __init__(self, max_images: int) -> None:
        self.uploads: list[Upload] = []
        self.is_complete = False
        self._max_images = max_images

    def parser(self, boundary: bytes) -> MultipartParser:
        """A parser that fills this form.

        Raises:
            FormParserError: the boundary is too long.
        """
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._begin_header,
                "on_header_field": self._extend_field,
                "on_header_value": self._extend_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._check,
                "on_part_data": self._extend_body,
                "on_part_end": self._end,
                "on_end": self._complete,
            },
        )

    def _begin(self) -> None:
        self._disposition = b""
        self._body = bytearray()

    def _begin_header(self) -> None:
        self._field, self._value = b"", b""

    def _extend_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _extend_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value

    def _check(self) -> None:
        """Look at a part's head, before its data are read."""
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name")
        if field is None:
            raise BadRequestError(
                "A part of the form has no name: it needs the header Content-Disposition: "
                f'form-data; name="{FORM_FIELD}"; filename="…".'
            )
        if _text(field) != FORM_FIELD:
            raise InvalidParameterError(
                f"The form has a field {quoted(_text(field))}. Only image files are allowed, each "
                f"in a field named {FORM_FIELD!r}; parameters belong in the query of the address."
            )
        if len(self.uploads) == self._max_images:
            raise TooManyImagesError(f"The form has more than {self._max_images} files.")
        extended = _EXTENDED_NAME.search(self._disposition)
        name = options.get(b"filename")
        if name is None and extended is not None:  # RFC 7578 forbids this form, and clients send it
            name = unquote(extended[1]).encode()
        self._name = "" if name is None else _text(name)

    def _extend_body(self, data: bytes, start: int, end: int) -> None:
        self._body += data[start:end]

    def _end(self) -> None:
        self.uploads.append(Upload(self._name, bytes(self._body)))

    def _complete(self) -> None:
        self.is_complete = True


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")
