"""What a server's answer says of a file, and which address is asked. Knows no file on disk."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec
import requests
from requests.auth import AuthBase

from pipeline.files.part_file import Origin

HUB: Final = "https://huggingface.co"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+)")


class HubToken(AuthBase):
    """Hugging Face's access token, sent to its own host and to no other.

    Also keeps ``requests`` from sending what it finds in a .netrc file.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header where it belongs."""
        if self._token and (request.url or "").startswith(f"{HUB}/"):
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def mirrored(url: str, environment: Mapping[str, str]) -> str:
    """HF_MIRROR, as in Fooocus, stands in for Hugging Face."""
    mirror = environment.get("HF_MIRROR", "").rstrip("/")
    return url.replace(HUB, mirror, 1) if mirror and url.startswith(f"{HUB}/") else url


def read_linked(response: requests.Response, told: Origin) -> Origin:
    """What Hugging Face says of a large file before it redirects to where the bytes are."""
    etag = response.headers.get("X-Linked-Etag", "").strip('"')
    size = response.headers.get("X-Linked-Size", "")
    if _SHA256.fullmatch(etag):
        told = msgspec.structs.replace(told, sha256=etag)
    return msgspec.structs.replace(told, total=int(size)) if size.isdecimal() else told


def read_described(response: requests.Response, told: Origin) -> Origin:
    """Length and validator of the answer; Hugging Face's word on the length goes before."""
    headers = response.headers
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    total = told.total
    if not total and response.status_code == 206:
        found = _RANGE.fullmatch(headers.get("Content-Range", ""))
        total = int(found[2]) if found else 0
    elif not total and headers.get("Content-Length", "").isdecimal():
        total = int(headers["Content-Length"])
    return msgspec.structs.replace(told, validator=validator, total=total)


def first_byte(response: requests.Response) -> int | None:
    """At which byte a partial answer begins; None if it does not say."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def shown(url: str) -> str:
    """The URL without what may be secret."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
