"""OpenAI's client, sync and async: ``python use_openai.py URL``."""

import asyncio
import base64
import io
import json
import sys
import urllib.request

import openai
from PIL import Image

URL = sys.argv[1]
PROMPT = "a red star on a blue background"
FEW = {"seed": 7, "steps": 4}
OURS = {"prompt": PROMPT, "image_seed": 7, "overwrite_step": 4}


def ours(**params):
    """The picture of our own endpoint."""
    request = urllib.request.Request(
        f"{URL}/v1/engine/generate/", json.dumps(params).encode(), {"Accept": "image/png"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read()


def newest():
    """The request of the newest task, in the server's own terms."""
    url = f"{URL}/tasks?query=history&page_size=1"
    with urllib.request.urlopen(url, timeout=30) as answer:
        (record,) = json.load(answer)["history"]
    assert record["family"] == "openai", record
    return record["req_params"]


def decoded(image):
    return base64.b64decode(image.b64_json)


def transparent_in_the_middle(star):
    """A mask as the client's documentation asks for it."""
    mask = Image.open(io.BytesIO(star)).convert("RGBA")
    mask.paste((0, 0, 0, 0), (64, 64, 192, 192))
    file = io.BytesIO()
    mask.save(file, "PNG")
    return file.getvalue()


def generate(client):
    made = client.images.generate(prompt=PROMPT, model="embedded", extra_body=FEW)
    assert made.created > 0
    assert (made.size, made.output_format, made.background) == ("256x256", "png", "opaque")
    star = decoded(made.data[0])
    assert star == ours(**OURS, base_model_name="embedded")
    made = client.images.generate(
        prompt=PROMPT, n=2, size="1024x1024", response_format="url", extra_body=FEW
    )
    assert made.size == "1024x1024"
    for i, image in enumerate(made.data):
        with urllib.request.urlopen(image.url, timeout=30) as answer:
            picture = answer.read()
        if i == 0:
            assert picture.startswith(b"\x89PNG")
    return star


def stream(client):
    partial, completed = [], []
    events = client.images.generate(
        prompt=PROMPT, stream=True, partial_images=2, quality="medium", extra_body={"seed": 7}
    )
    for event in events:
        {
            "image_generation.partial_image": partial,
            "image_generation.completed": completed,
        }[event.type].append(event)
    assert [event.partial_image_index for event in partial] == list(range(len(partial)))
    assert 1 <= len(partial) <= 2
    for event in partial:
        assert Image.open(io.BytesIO(decoded(event))).format.lower() == event.output_format
    assert len(completed) == 1
    expected = ours(prompt=PROMPT, image_seed=7, performance_selection="Speed")
    assert decoded(completed[0]) == expected
    assert completed[0].quality == "medium"
    (only,) = client.images.generate(prompt=PROMPT, stream=True, partial_images=0, extra_body=FEW)
    assert only.type == "image_generation.completed"


def edit(client, star):
    mask = transparent_in_the_middle(star)
    made = client.images.edit(
        image=("star.png", star), mask=("mask.png", mask), prompt="a green circle", extra_body=FEW
    )
    asked = newest()
    assert decoded(made.data[0]) == ours(**asked)
    assert asked["inpaint_mask_image_upload"]
    white = io.BytesIO()
    alpha = Image.open(io.BytesIO(mask)).getchannel("A").point(lambda level: 255 - level)
    alpha.convert("RGB").save(white, "PNG")
    painted = {
        "inpaint_input_image": base64.b64encode(star).decode(),
        "inpaint_mask_image_upload": base64.b64encode(white.getvalue()).decode(),
    }
    pixels = [
        Image.open(io.BytesIO(picture)).tobytes()
        for picture in (
            decoded(made.data[0]),
            ours(**{**OURS, "prompt": "a green circle"}, **painted),
        )
    ]
    assert pixels[0] == pixels[1]  # the files name masks that are encoded differently
    redrawn = {
        "uov_input_image": painted["inpaint_input_image"],
        "uov_method": "Vary (Strong)",
    }
    made = client.images.edit(image=[("star.png", star)], prompt=PROMPT, extra_body=FEW)
    assert decoded(made.data[0]) == ours(**OURS, **redrawn)
    events = client.images.edit(
        image=("star.png", star), prompt=PROMPT, stream=True, partial_images=1, extra_body=FEW
    )
    names = [event.type for event in events]
    assert names[-1] == "image_edit.completed"
    assert set(names[:-1]) <= {"image_edit.partial_image"}


def vary(client, star):
    made = client.images.create_variation(
        image=("star.png", star), n=2, size="256x256", response_format="b64_json", extra_body=FEW
    )
    assert len(made.data) == 2
    assert len({image.b64_json for image in made.data}) == 2
    varied = {
        "uov_input_image": base64.b64encode(star).decode(),
        "uov_method": "Vary (Strong)",
        "image_seed": 7,
        "overwrite_step": 4,
    }
    alone = client.images.create_variation(image=("star.png", star), extra_body=FEW)
    assert decoded(alone.data[0]) == ours(**varied)


def models(client):
    names = [model.id for model in client.models.list()]
    assert "embedded" in names
    assert client.models.retrieve("embedded").owned_by == "local"


def errors(client):
    for kind, param, call in (
        (openai.NotFoundError, "model", {"model": "gpt-image-1"}),
        (openai.BadRequestError, "size", {"size": "large"}),
        (openai.BadRequestError, "n", {"n": 11}),
        (openai.BadRequestError, "background", {"background": "transparent"}),
        (openai.BadRequestError, "sampler_name", {"extra_body": {"sampler_name": "magic"}}),
    ):
        try:
            client.images.generate(prompt=PROMPT, **call)
        except kind as error:
            assert (error.param, error.type) == (param, "invalid_request_error"), error
            assert error.code
        else:
            raise AssertionError(f"{call} was not refused")
    try:
        client.models.retrieve("no-such-model")
    except openai.NotFoundError as error:
        assert "no-such-model" in error.message
    else:
        raise AssertionError("an unknown model was found")


async def asynchronous(star):
    async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="none") as client:
        made = await client.images.generate(prompt=PROMPT, model="embedded", extra_body=FEW)
        assert decoded(made.data[0]) == star
        events = await client.images.generate(
            prompt=PROMPT, stream=True, partial_images=1, extra_body=FEW
        )
        names = [event.type async for event in events]
        assert names[-1] == "image_generation.completed"
        varied = await client.images.create_variation(image=("star.png", star), extra_body=FEW)
        edited = await client.images.edit(image=star, prompt="", extra_body=FEW)
        assert decoded(edited.data[0]) == decoded(varied.data[0])
        assert "embedded" in [model.id async for model in client.models.list()]
        try:
            await client.images.generate(prompt=PROMPT, model="gpt-image-1")
        except openai.NotFoundError as error:
            assert error.param == "model"
        else:
            raise AssertionError("an unknown model drew a picture")


def main():
    with openai.OpenAI(base_url=f"{URL}/v1", api_key="none") as client:
        star = generate(client)
        stream(client)
        edit(client, star)
        vary(client, star)
        models(client)
        errors(client)
    asyncio.run(asynchronous(star))


if __name__ == "__main__":
    main()
