"""Requests of Fooocus-API clients, for tests of that family."""

import base64
from typing import Any

from tests.integration.fake_device import encode
from tests.integration.serving import Focal

V1 = "/v1/generation/"


TEXT = V1 + "text-to-image"


PICTURE = encode("png", 9)


BASE64 = base64.b64encode(PICTURE).decode()


# The masks of the tests are white, so that there is something to paint.
MASK = encode("png", 255)


WHITE = base64.b64encode(MASK).decode()


async def post(focal: Focal, path: str, body: object, status: int = 200, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with focal.session.post(path, json=body, headers=named) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


def asked(focal: Focal) -> Any:
    """The parameters of the newest task."""
    return focal.device.seen[-1].params


PROMPTED = {
    "controlnet_image": [
        {"cn_img": BASE64, "cn_type": "PyraCanny", "cn_weight": 0.8},
        {"cn_img": WHITE, "cn_type": "CPDS"},
    ]
}
