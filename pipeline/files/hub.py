"""Hugging Face's token, mirrors and response headers. Knows no file on disk."""

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
    """Hugging Face's access token, sent to its own host only.

    It also keeps ``requests`` from sending credentials of a .netrc file.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header where it belongs."""
        if self._token and (request.url or "").startswith(f"{HUB}/"):
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def mirrored(url: str, environment: Mapping[str, str]) -> str:
    """The URL at the mirror of Hugging Face that is configured, if any.

    HF_MIRROR is Fooocus's variable, HF_ENDPOINT that of ``huggingface_hub``.
    """
    mirror = (environment.get("HF_MIRROR") or environment.get("HF_ENDPOINT") or "").rstrip("/")
    return url.replace(HUB, mirror, 1) if mirror and url.startswith(f"{HUB}/") else url


def read_linked(response: requests.Response, told: Origin) -> Origin:
    """SHA-256 and size, which Hugging Face tells before it redirects to the bytes."""
    etag = response.headers.get("X-Linked-Etag", "").strip('"')
    size = response.headers.get("X-Linked-Size", "")
    if _SHA256.fullmatch(etag):
        told = msgspec.structs.replace(told, sha256=etag)
    return msgspec.structs.replace(told, total=int(size)) if size.isdecimal() else told


def read_described(response: requests.Response, told: Origin) -> Origin:
    """Length and validator of the response; a length from ``read_linked`` goes before."""
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
    """The byte at which a partial response begins; None if it does not say."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def shown(url: str) -> str:
    """The URL without credentials and query, which may be secret."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
