"""A server seen as a function from a request to its pictures."""

import base64
import io
import json
import urllib.request
from typing import Any, Final

from PIL import Image

GENERATE: Final = "/v1/engine/generate/"
SECONDS: Final = 600.0


class Client:
    """Asks one server, and waits for each answer."""

    def __init__(self, url: str) -> None:
        self.url = url

    def record(self, params: dict[str, Any]) -> dict[str, Any]:
        """The record of the finished task. Raises urllib.error.HTTPError."""
        data = json.dumps(params).encode()
        request = urllib.request.Request(self.url + GENERATE, data=data, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:  # noqa: S310
            record: dict[str, Any] = json.load(reply)
            return record

    def pictures(self, params: dict[str, Any]) -> list[Image.Image]:
        """All pictures of a task, in RGB."""
        return [self._fetch(url) for url in self.record(params)["result"]]

    def picture(self, params: dict[str, Any]) -> Image.Image:
        """The first picture of a task."""
        return self.pictures(params)[0]

    def _fetch(self, url: str) -> Image.Image:
        with urllib.request.urlopen(url, timeout=SECONDS) as reply:  # noqa: S310
            return Image.open(io.BytesIO(reply.read())).convert("RGB")


def data_url(image: Image.Image) -> str:
    """A picture as a request carries it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
