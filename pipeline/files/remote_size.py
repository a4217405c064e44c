"""The size of a file before it is fetched. Blocks its thread."""

import os
from collections.abc import Mapping
from typing import Final

import requests

from pipeline.files.hub import HubToken, mirrored, read_linked
from pipeline.files.part_file import Origin

_SECONDS: Final = 8.0  # somebody waits for the answer


def remote_size(url: str, environment: Mapping[str, str] = os.environ) -> int:
    """Bytes as the sender tells them; 0 where it does not, or does not answer in time.

    Hugging Face tells the size before it redirects, other hosts at the end of their redirects.
    """
    told = Origin(url=url)
    try:
        with requests.Session() as session:
            session.auth = HubToken(environment.get("HF_TOKEN", ""))
            answer = session.head(
                mirrored(url, environment),
                headers={"Accept-Encoding": "identity"},
                allow_redirects=True,
                timeout=_SECONDS,
            )
    except requests.RequestException:
        return 0
    for response in (*answer.history, answer):
        told = read_linked(response, told)
    length = answer.headers.get("Content-Length", "")
    if not told.total and answer.ok and length.isdecimal():
        return int(length)
    return told.total
