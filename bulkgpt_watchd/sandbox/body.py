"""
Read the body of an upload block by block: the CSV goes to the spool, never whole into memory.

All of the JSON but a long `csvBase64` is kept; the place of that string is held by a token until the end.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import secrets
from dataclasses import dataclass

from bulkgpt_watchd.sandbox.spool import SMALL_BYTES, Spool, Stored

_KEPT_BYTES = 1 << 20
"""Of JSON around the CSV: far more than two keys and a workflow ID take."""


class WrongBody(ValueError):
    """Say why a body is not a submit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A submit whose whole body came; *csv* is empty if it was larger than the limit."""

    workflow_id: str
    csv: Stored
    csv_bytes: int
    sha256: str


class UploadBody:
    """
    Take blocks by feed() and give the upload by finish().

    Units: what is beyond *max_csv_bytes* of CSV is counted and hashed, but not kept.
    Errors: WrongBody, from both.
    """

    def __init__(self, spool: Spool, max_csv_bytes: int | None = None) -> None:
        self._csv = Stored(spool)
        self._max_csv_bytes = max_csv_bytes
        self._hash = hashlib.sha256()
        self._csv_bytes = 0
        self._kept = bytearray()
        self._string_from = 0
        self._in_string = False
        self._escaped = False
        self._token = b""  # not empty: a long string was given to the spool, and this stands for it
        self._diverting = False
        self._encoded = b""  # Base64 that does not fill a group of four yet

    def feed(self, block: bytes) -> None:
        at = 0
        while at < len(block):
            if not self._in_string:
                quote = block.find(b'"', at)
                end = quote + 1 or len(block)
                self._kept += block[at:end]
                self._in_string = quote >= 0
                self._string_from = len(self._kept)
            else:
                end = self._end_of_string(block, at)
                self._take(block[at:end])
                if end < len(block):
                    self._close_string()
                    end += 1
            at = end
        if len(self._kept) > _KEPT_BYTES:
            raise WrongBody("more than 1 MiB of JSON beside the CSV")

    def finish(self) -> Upload:
        try:
            document = json.loads(self._kept)
        except (ValueError, RecursionError):
            raise WrongBody("not JSON") from None
        if not isinstance(document, dict):
            raise WrongBody("not a JSON object")
        workflow_id, encoded = document.get("workflowId"), document.get("csvBase64")
        if not isinstance(workflow_id, str) or not workflow_id:
            raise WrongBody("no workflowId")
        if not isinstance(encoded, str) or not encoded:
            raise WrongBody("no csvBase64")
        if not self._token:
            self._decode(encoded.encode(errors="replace"), last=True)
        elif encoded != self._token.decode():
            raise WrongBody("a long string that is not csvBase64")
        return Upload(workflow_id=workflow_id, csv=self._csv, csv_bytes=self._csv_bytes, sha256=self._hash.hexdigest())

    def _end_of_string(self, block: bytes, at: int) -> int:
        if self._escaped:
            at += 1
            self._escaped = False
        quote = block.find(b'"', at)  # find() twice is 5 times faster than a regular expression for either
        while True:
            end = len(block) if quote < 0 else quote
            backslash = block.find(b"\\", at, end)
            if backslash < 0:
                return end
            at = backslash + 2
            if at > len(block):
                self._escaped = True
                return len(block)
            if at > end:
                quote = block.find(b'"', at)

    def _take(self, piece: bytes) -> None:
        if self._diverting:
            self._decode(piece)
            return
        self._kept += piece
        if len(self._kept) - self._string_from > SMALL_BYTES:
            if self._token:
                raise WrongBody("two long strings")
            self._token = secrets.token_hex().encode()
            self._diverting = True
            self._decode(bytes(self._kept[self._string_from :]))
            self._kept[self._string_from :] = self._token

    def _close_string(self) -> None:
        if self._diverting:
            self._decode(b"", last=True)
        self._diverting = self._in_string = False
        self._kept += b'"'

    def _decode(self, encoded: bytes, *, last: bool = False) -> None:
        encoded = self._encoded + encoded
        if b"\\" in encoded:
            encoded = encoded.replace(b"\\/", b"/")  # PHP escapes the slash
        whole = len(encoded) if last else max(0, len(encoded) - 1) // 4 * 4
        self._encoded = encoded[whole:]
        try:
            csv = binascii.a2b_base64(encoded[:whole], strict_mode=True)
        except binascii.Error:
            raise WrongBody("csvBase64 is not Base64") from None
        if not last and len(csv) < whole // 4 * 3:
            raise WrongBody("csvBase64 is padded in the middle")
        self._csv_bytes += len(csv)
        self._hash.update(csv)
        if not self.too_large:
            self._csv.append(csv)

    @property
    def too_large(self) -> bool:
        return self._max_csv_bytes is not None and self._csv_bytes > self._max_csv_bytes
