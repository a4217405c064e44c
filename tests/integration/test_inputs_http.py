"""POST /inputs: a picture is stored once, and requests name its path."""

import gzip
from io import BytesIO

import aiohttp
import pytest

from tests.integration.serving import Focal, serve
from tests.integration.test_input_images import grey, stored_as

VARY = {"uov_method": "Vary (Subtle)"}


def form(data: bytes, field: str = "image") -> aiohttp.FormData:
    made = aiohttp.FormData()
    made.add_field(field, data, filename="a picture.png", content_type="image/png")
    return made


@pytest.mark.parametrize("kind", ["image/png", "application/x-www-form-urlencoded", ""])
async def test_the_bytes_of_a_picture_are_stored_whatever_they_are_called(
    focal: Focal, kind: str
) -> None:
    headers = {"Content-Type": kind} if kind else None
    async with focal.session.post("/inputs", data=grey(), headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        stored = await answer.json()
    path = f"/{stored_as(grey())}"
    assert stored == {
        "path": path,
        "url": focal.url + path,
        "width": 24,
        "height": 16,
        "format": "png",
    }
    async with focal.session.get(stored["url"]) as answer:
        assert await answer.read() == grey()


async def test_a_form_with_the_picture_is_stored_once_and_its_path_is_an_image(
    focal: Focal,
) -> None:
    paths = set()
    for field in ("image", "file"):
        async with focal.session.post("/inputs", data=form(grey(), field)) as answer:
            assert answer.status == 200, await answer.text()
            paths.add((await answer.json())["path"])
    (path,) = paths
    assert focal.files() == [stored_as(grey())]
    record = await focal.generate({**VARY, "uov_input_image": path})
    assert record["req_params"]["uov_input_image"] == focal.url + path


async def refused(focal: Focal, data: object, status: int, code: str) -> None:
    async with focal.session.post("/inputs", data=data) as answer:
        assert (answer.status, (await answer.json())["code"]) == (status, code)
    await focal.nothing_is_left()


async def test_what_is_no_picture_leaves_nothing_behind(focal: Focal) -> None:
    await refused(focal, b"", 415, "unreadable_image")
    await refused(focal, b"<html>", 415, "unreadable_image")
    await refused(focal, grey()[:40], 415, "unreadable_image")
    await refused(focal, form(b"no picture"), 415, "unreadable_image")
    await refused(focal, grey(size=(1000, 2)), 422, "invalid_parameter")


async def test_a_form_without_one_file_is_refused(focal: Focal) -> None:
    without = aiohttp.FormData({"image": "text"}, default_to_multipart=True)
    await refused(focal, without, 422, "invalid_parameter")
    two = form(grey(1))
    two.add_field("other", grey(2), filename="2.png")
    await refused(focal, two, 422, "invalid_parameter")


async def test_a_picture_too_large_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with serve(tmp_path_factory.mktemp("small"), body_limit_mb=1) as focal:
        await refused(focal, BytesIO(bytes(2**20 + 1)), 413, "body_too_large")
        packed = BytesIO(gzip.compress(bytes(2**21)))
        headers = {"Content-Encoding": "gzip"}
        async with focal.session.post("/inputs", data=packed, headers=headers) as answer:
            assert answer.status == 413
        await focal.nothing_is_left()


HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: " + b"a" * 9000 + b"\r\n\r\nx\r\n--b--\r\n",
        HEAD + b"\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\nx\r\n--b--\r\n",
        HEAD + b"\r\n\r\ncut short",
    ],
)
async def test_a_broken_form_is_refused_as_such(focal: Focal, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with focal.session.post("/inputs", data=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "invalid_form")
    await focal.nothing_is_left()
