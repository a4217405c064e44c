"""Requests of A1111's clients, for tests of that family."""

import base64
from io import BytesIO
from typing import Any

from PIL import Image

from tests.integration.serving import Focal

API = "/sdapi/v1"


async def post(focal: Focal, name: str, body: object, status: int = 200) -> Any:
    async with focal.session.post(f"{API}/{name}", json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def get(focal: Focal, name: str, query: str = "") -> Any:
    return await focal.get(f"{API}/{name}{query}")


async def seen(focal: Focal, name: str, body: dict[str, Any]) -> Any:
    """The parameters of the task that a request makes."""
    await post(focal, name, body)
    return focal.device.seen[-1].params


def picture(size: int = 8, value: int = 9) -> str:
    buffer = BytesIO()
    Image.new("RGB", (size, size), (value,) * 3).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
