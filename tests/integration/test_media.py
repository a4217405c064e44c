"""Stored pictures over HTTP: what is served, in which format, and what is not."""

import io
from pathlib import Path

import pytest
from PIL import Image
from yarl import URL

from handlers.http.files import SMALL_BYTES
from handlers.keys import INPUTS, OUTPUTS
from pipeline.images.embedded_text import read_text
from pipeline.images.encode import encode_image
from pipeline.scheduling.task import MadeImage
from tests.integration.serving import Focal

PARAMETERS = '{"prompt": "a cat, 猫"}'


def picture(extension: str = "png", mode: str = "RGB") -> bytes:
    colour = (255, 0, 0, 0) if mode == "RGBA" else (255, 0, 0)
    return encode_image(Image.new(mode, (16, 8), colour), extension, PARAMETERS, "fooocus")


def saved(focal: Focal, data: bytes, extension: str) -> str:
    return focal.app[OUTPUTS].save(
        MadeImage(data=data, extension=extension, seed=1, width=16, height=8)
    )


async def test_a_picture_is_served_byte_for_byte_and_kept_by_the_browser(focal: Focal) -> None:
    data = picture()
    path = saved(focal, data, "png")
    async with focal.session.get(path) as answer:
        assert answer.status == 200
        assert await answer.read() == data
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "immutable" in answer.headers["Cache-Control"]
        assert "Last-Modified" in answer.headers
        tag = answer.headers["ETag"]
    async with focal.session.get(path, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
    async with focal.session.get(path, headers={"Range": "bytes=0-3"}) as answer:
        assert (answer.status, await answer.read()) == (206, data[:4])
    async with focal.session.head(path) as answer:
        assert (answer.status, answer.content_length) == (200, len(data))


@pytest.mark.parametrize("size", [100, SMALL_BYTES, SMALL_BYTES + 1])
async def test_small_and_large_files_are_answered_alike(focal: Focal, size: int) -> None:
    data = bytes(size)
    path = saved(focal, data, "png")
    names = ("ETag", "Last-Modified", "Accept-Ranges", "Content-Type", "Content-Length", "Vary")
    async with focal.session.get(path) as answer:
        whole = [answer.headers[name] for name in names]
        assert await answer.read() == data
    async with focal.session.head(path) as answer:
        assert [answer.headers[name] for name in names] == whole
    async with focal.session.get(path, headers={"If-None-Match": whole[0]}) as answer:
        assert answer.status == 304
    async with focal.session.get(path, headers={"If-Modified-Since": whole[1]}) as answer:
        assert answer.status == 304
    async with focal.session.get(path, headers={"If-Match": '"other"'}) as answer:
        assert answer.status == 412


WHOLE, PART = 200, 206


@pytest.mark.parametrize(
    ("ranges", "status"),
    [
        ("bytes=4-", PART),
        ("bytes=-4", PART),
        ("BYTES=0-999999999", PART),
        ("bytes=0-1,3-4", WHOLE),
        ("bytes=0-0,-1", WHOLE),
        ("bytes=5-4", WHOLE),
        ("bytes=-0", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=" + "9" * 4000 + "-", WHOLE),
        ("items=0-1", WHOLE),
        ("", WHOLE),
        ("bytes=999999-", 416),
    ],
)
async def test_one_range_is_followed_and_anything_else_gets_the_whole_file(
    focal: Focal, ranges: str, status: int
) -> None:
    path = saved(focal, picture(), "png")
    async with focal.session.get(path, headers={"Range": ranges}) as answer:
        assert answer.status == status
        assert ("Content-Range" in answer.headers) is (status != WHOLE)
    async with focal.session.head(path, headers={"Range": ranges}) as answer:
        assert answer.status == WHOLE  # a range is of a GET only


@pytest.mark.parametrize("page", ["/static/app.css", "/docs", None])
async def test_a_file_that_is_not_sent_says_why_as_json(focal: Focal, page: str | None) -> None:
    path = page or saved(focal, picture(), "png")
    asked = {
        ("Range", "bytes=999999999-"): (416, "range_not_satisfiable"),
        ("if-match", '"another"'): (412, "precondition_failed"),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"): (412, "precondition_failed"),
    }
    for (name, value), refusal in asked.items():
        headers = {name: value, "Accept-Encoding": "identity"}
        async with focal.session.get(path, headers=headers) as answer:
            body = await answer.json()
            assert (answer.status, body["code"]) == refusal
            assert body["detail"]
            assert answer.headers["Cache-Control"] == "no-store"
        async with focal.session.head(path, headers=headers) as answer:
            assert answer.status in (200, refusal[0])
            assert await answer.read() == b""
        await focal.get("/health")  # on the same connection


async def test_a_file_that_goes_while_it_is_asked_for_says_so_as_json(
    focal: Focal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(focal, picture(), "png")
    monkeypatch.setattr(focal.app[OUTPUTS], "resolve", lambda *_: focal.folder / "gone.png")
    assert (await focal.get(path, status=404))["code"] == "not_found"


async def test_a_range_is_followed_only_if_the_file_is_still_the_one_meant(focal: Focal) -> None:
    path = saved(focal, picture(), "png")
    async with focal.session.get(path) as answer:
        tag, date = answer.headers["ETag"], answer.headers["Last-Modified"]
    conditions = {
        tag: PART,
        date: PART,
        f"W/{tag}": WHOLE,
        '"another"': WHOLE,
        "Sun, 06 Nov 1994 08:49:37 GMT": WHOLE,
        "Fri, 01 Jan 2100 00:00:00 GMT": WHOLE,
        "nonsense": WHOLE,
        "": WHOLE,
    }
    for condition, status in conditions.items():
        headers = {"Range": "bytes=0-3", "If-Range": condition}
        async with focal.session.get(path, headers=headers) as answer:
            assert answer.status == status, condition
    async with focal.session.get("/static/app.css", headers={"Range": "bytes=0-1,3-4"}) as answer:
        assert answer.status == WHOLE


@pytest.mark.parametrize(
    ("stored", "accept", "kind"),
    [
        ("png", "image/jpeg", "JPEG"),
        ("png", "image/jpg", "JPEG"),
        ("png", "image/webp;q=0.9, */*;q=0.1", "WEBP"),
        ("jpg", "image/png", "PNG"),
        ("webp", "image/png", "PNG"),
        ("png", "image/png", "PNG"),
        ("png", "*/*", "PNG"),
        ("webp", "image/*", "WEBP"),
        ("webp", "image/avif,image/webp,image/png", "WEBP"),
        ("jpeg", "text/html,image/png", "JPEG"),
        ("png", "image/png;q=0.1, image/jpeg;q=0.9", "JPEG"),
        ("png", "image/*;q=0.8, image/png;q=0.1", "JPEG"),
        ("png", "image/*;q=0.8, image/webp;q=0.9", "WEBP"),
        ("webp", "image/*;q=0.9, image/png;q=0.5", "WEBP"),
        ("png", "image/png;q=0, */*", "JPEG"),
        ("png", "image/tiff", "PNG"),
        ("png", "image/png;q=0", "PNG"),
    ],
)
async def test_the_first_choice_of_accept_is_the_format_with_its_metadata(
    focal: Focal, stored: str, accept: str, kind: str
) -> None:
    path = saved(focal, picture(stored), stored)
    async with focal.session.get(path, headers={"Accept": accept}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == f"image/{kind.lower()}"
        assert "Accept" in ", ".join(answer.headers.getall("Vary"))
        image = Image.open(io.BytesIO(await answer.read()))
    assert (image.format, image.size) == (kind, (16, 8))
    text = read_text(image)
    assert text is not None
    assert (text.parameters, text.scheme) == (PARAMETERS, "fooocus")


async def test_a_converted_picture_has_a_tag_of_its_own(focal: Focal) -> None:
    path = saved(focal, picture(), "png")
    tags = set()
    for accept in ("image/png", "image/jpeg", "image/webp"):
        async with focal.session.get(path, headers={"Accept": accept}) as answer:
            tags.add(tag := answer.headers["ETag"])
        again = {"Accept": accept, "If-None-Match": tag}
        async with focal.session.get(path, headers=again) as answer:
            assert answer.status == 304
    assert len(tags) == 3


async def test_an_img_element_gets_what_is_stored(focal: Focal) -> None:
    path = saved(focal, picture(), "png")
    headers = {"Accept": "image/webp,image/avif,*/*", "Sec-Fetch-Dest": "image"}
    async with focal.session.get(path, headers=headers) as answer:
        assert answer.headers["Content-Type"] == "image/png"


async def test_transparency_lies_on_white_in_a_jpeg(focal: Focal) -> None:
    path = saved(focal, picture(mode="RGBA"), "png")
    async with focal.session.get(path, headers={"Accept": "image/jpeg"}) as answer:
        image = Image.open(io.BytesIO(await answer.read()))
    assert image.getpixel((3, 3)) == (255, 255, 255)


async def test_an_input_picture_is_served_too(focal: Focal) -> None:
    path = focal.app[INPUTS].store(picture("webp"), "webp")
    async with focal.session.get(path) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/webp")


async def test_a_damaged_stored_picture_cannot_be_converted_and_harms_nothing(
    focal: Focal,
) -> None:
    path = saved(focal, picture()[:60], "png")
    async with focal.session.get(path, headers={"Accept": "image/jpeg"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (415, "unreadable_image")
    await focal.get("/health")


NOT_SERVED = [
    "/outputs/db.sqlite3",
    "/outputs/2026-01-01/db.sqlite3",
    "/outputs/../settings.py",
    "/outputs/2026-01-01/../../settings.py",
    "/outputs/2026-01-01/..%2f..%2fsecret.png",
    "/outputs/..%2f/secret.png",
    "/outputs/%2e%2e/secret.png",
    "/outputs/2026-01-01/%2e%2e%5csecret.png",
    "/outputs/2026-01-01/a.png%00.txt",
    "/outputs/2026-01-01/page.html",
    "/outputs/2026-01-01/drawing.svg",
    "/outputs/2026-01-01/link.png",
    "/outputs/2026-01-01/CON.png",
    "/outputs/2026-01-01/%252e%252e%252fsecret.png",
    "/outputs//secret.png",
    "/outputs/2026-01-01/",
    "/outputs/2026-01-01",
    "/inputs/..%2fsecret.png",
    "/inputs/%2e%2e%2fsecret.png",
    "/inputs/%2fetc%2fpasswd",
    "/inputs/page.html",
    "/inputs/",
]


@pytest.mark.parametrize("path", NOT_SERVED)
async def test_only_pictures_that_lie_in_the_folder_are_served(focal: Focal, path: str) -> None:
    secret = focal.folder / "secret.png"
    secret.write_bytes(picture())
    day = focal.folder / "outputs" / "2026-01-01"
    for folder in (day, focal.folder / "inputs"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("page.html", "drawing.svg", "db.sqlite3"):
            (folder / name).write_text("<script>alert(1)</script>", encoding="utf-8")
    (day / "link.png").symlink_to(secret)
    async with focal.session.get(URL(focal.url + path, encoded=True)) as answer:
        assert answer.status == 404
        body = await answer.text()
    assert "script" not in body
    assert str(Path(focal.folder)) not in body


@pytest.mark.parametrize(("wanted", "kind"), [("webp", "WEBP"), ("jpg", "JPEG"), ("png", "PNG")])
async def test_a_query_names_the_format_where_a_client_cannot_set_accept(
    focal: Focal, wanted: str, kind: str
) -> None:
    url = saved(focal, picture(), "png")
    headers = {"Accept": "image/webp" if wanted != "webp" else "image/png"}
    async with focal.session.get(url, params={"as": wanted}, headers=headers) as answer:
        assert Image.open(io.BytesIO(await answer.read())).format == kind
    async with focal.session.get(url, params={"as": "tiff"}) as answer:
        assert answer.status == 422
