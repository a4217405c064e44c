"""Continued prompts from the request to the picture and back, over HTTP."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pipeline.images.embedded_text import read_text
from pipeline.images.read import open_image
from tests.integration.real_engine import fetch, pictures, serve_engine
from tests.integration.serving import Focal
from tests.integration.tiny_expansion import WORDS, write_expansion

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASKED = {
    "prompt": "a red circle on a blue background",
    "image_seed": 5,
    "overwrite_step": 2,
    "style_selections": ["Fooocus V2"],
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def focal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Focal]:
    folder = tmp_path_factory.mktemp("focal")
    write_expansion(folder / "models" / "prompt_expansion" / "tiny")
    async with serve_engine(folder) as running:
        yield running


async def test_the_record_and_the_picture_hold_what_was_added(focal: Focal) -> None:
    record = await focal.generate({**ASKED, "image_number": 2})
    told = record["notes"]["expansion"]
    assert len(told) == 2
    assert told[0] != told[1]  # each seed has words of its own
    for url, text in zip(record["result"], told, strict=True):
        assert text.startswith("a red circle on a blue background, ")
        assert any(word in text for word in WORDS)
        found = read_text(open_image(await fetch(focal, url)))
        assert found is not None
        written = json.loads(found.parameters)
        assert written["prompt_expansion"] == text
        assert written["full_prompt"][-1] == text
        assert "Fooocus V2" in written["styles"]


async def test_the_words_change_the_picture(focal: Focal) -> None:
    plain = {**ASKED, "style_selections": []}
    assert await pictures(focal, **ASKED) != await pictures(focal, **plain)


@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
async def test_the_parameters_read_make_the_same_picture_again(focal: Focal, scheme: str) -> None:
    asked = {**ASKED, "image_number": 2, "metadata_scheme": scheme}
    for url in (await focal.generate(asked))["result"]:
        body = {"image": url}
        async with focal.session.post("/v1/tools/read-metadata", json=body) as answer:
            found = (await answer.json())["parameters"]
        assert found["prompt_expansion"]
        assert await pictures(focal, **found) == [await fetch(focal, url)]


async def test_an_expansion_in_the_request_is_taken_as_it_is(focal: Focal) -> None:
    record = await focal.generate({**ASKED, "prompt_expansion": "a red circle, huge"})
    (url,) = record["result"]
    found = read_text(open_image(await fetch(focal, url)))
    assert found is not None
    assert json.loads(found.parameters)["prompt_expansion"] == "a red circle, huge"
