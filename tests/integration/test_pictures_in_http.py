"""Requests that bring pictures, over HTTP, with the real engine and the model that ships."""

import io
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.integration.real_engine import fetch, serve_engine
from tests.integration.serving import Focal
from tests.integration.tiny_vision import save_background
from tools.pictures_in.client import data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIDE = 256
HALO = 32  # pixels around a mask into which what was painted is blended
PROMPT = "a red circle on a blue background"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def focal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Focal]:
    folder = tmp_path_factory.mktemp("pictures_in")
    save_background(folder / "models" / "rembg" / "u2netp.onnx", 320)
    async with serve_engine(folder) as running:
        yield running


def drawn(width: int = SIDE, height: int = SIDE) -> Image.Image:
    """A yellow square on green."""
    image = Image.new("RGB", (width, height), (30, 150, 60))
    ImageDraw.Draw(image).rectangle(
        (width // 3, height // 3, 2 * width // 3, 2 * height // 3), fill=(250, 220, 40)
    )
    return image


def left_half(width: int = SIDE, height: int = SIDE) -> Image.Image:
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (0, 0, width // 2 - HALO, height))
    return mask


async def record_of(focal: Focal, **asked: Any) -> dict[str, Any]:
    return await focal.generate(
        {"prompt": PROMPT, "image_seed": 7, "overwrite_step": 4, "style_selections": [], **asked}
    )


async def made(focal: Focal, **asked: Any) -> list[Image.Image]:
    """The pictures of a request."""
    record = await record_of(focal, **asked)
    files = [await fetch(focal, url) for url in record["result"]]
    return [Image.open(io.BytesIO(data)).convert("RGB") for data in files]


def pixels(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image, np.float64)


async def test_a_varied_picture_is_nearer_to_its_input_the_less_is_denoised(focal: Focal) -> None:
    image = drawn()
    far = []
    for strength in (0.3, 0.9):
        (varied,) = await made(
            focal,
            uov_method="Vary (Subtle)",
            uov_input_image=data_url(image),
            overwrite_vary_strength=strength,
        )
        assert varied.size == image.size
        far.append(np.abs(pixels(varied) - pixels(image)).mean())
    assert far[0] < far[1]


async def test_the_same_request_with_a_picture_gives_the_same_bytes(focal: Focal) -> None:
    asked = {"uov_method": "Vary (Strong)", "uov_input_image": data_url(drawn())}
    first, second = [(await record_of(focal, **asked))["result"][0] for _ in range(2)]
    assert await fetch(focal, first) == await fetch(focal, second)


async def test_what_is_not_under_the_mask_stays_to_the_last_bit(focal: Focal) -> None:
    image = drawn(300, 220)
    (painted,) = await made(
        focal,
        inpaint_input_image=data_url(image),
        inpaint_mask_image_upload=data_url(left_half(300, 220)),
    )
    assert painted.size == image.size
    kept = np.s_[:, 150:]
    assert (pixels(painted)[kept] == pixels(image)[kept]).all()
    assert (pixels(painted)[:, :80] != pixels(image)[:, :80]).any()


async def test_an_inverted_mask_paints_the_rest(focal: Focal) -> None:
    image = drawn()
    (painted,) = await made(
        focal,
        inpaint_input_image=data_url(image),
        inpaint_mask_image_upload=data_url(left_half()),
        invert_mask_checkbox=True,
    )
    kept = np.s_[:, : SIDE // 2 - 2 * HALO - 1]
    assert (pixels(painted)[kept] == pixels(image)[kept]).all()
    assert (pixels(painted)[:, -40:] != pixels(image)[:, -40:]).any()


async def test_an_outpainted_picture_grows_where_it_was_asked_to(focal: Focal) -> None:
    image = drawn()
    (wider,) = await made(
        focal,
        inpaint_input_image=data_url(image),
        outpaint_selections=["Left", "Bottom"],
        outpaint_distance=[40, 0, 0, 0],
    )
    assert wider.size == (SIDE + 40, SIDE + int(0.3 * SIDE))
    kept = pixels(wider)[: SIDE - HALO, 40 + HALO :]
    assert (kept == pixels(image)[: SIDE - HALO, HALO:]).all()


async def test_the_inpaint_preprocessor_can_be_looked_at(focal: Focal) -> None:
    shown = await made(
        focal,
        inpaint_input_image=data_url(drawn()),
        inpaint_mask_image_upload=data_url(left_half()),
        debugging_inpaint_preprocessor=True,
    )
    assert len(shown) == 3
    assert set(np.unique(pixels(shown[1]))) == {0.0, 255.0}


async def test_hints_can_be_looked_at_in_place_of_pictures(focal: Focal) -> None:
    control = {"cn_img": data_url(drawn()), "cn_type": "PyraCanny"}
    (hint,) = await made(focal, controlnet_image=[control], debugging_cn_preprocessor=True)
    assert hint.size == (SIDE, SIDE)
    inside, edge = pixels(hint)[SIDE // 2, SIDE // 2], pixels(hint)[SIDE // 2, SIDE // 3]
    assert edge.max() > inside.max()


async def test_enhancing_paints_what_was_found_and_keeps_what_was_not(focal: Focal) -> None:
    image = drawn()
    control = {
        "enhance_enabled": True,
        "enhance_mask_model": "u2netp",
        "enhance_prompt": "a blue circle on a red background",
        "enhance_inpaint_engine": "None",
    }
    asked = {"enhance_input_image": data_url(image), "enhance_ctrls": [control]}
    mask, enhanced = await made(focal, **asked, debugging_enhance_masks_checkbox=True)
    found = pixels(mask)[..., 0] > 127
    assert found.any()
    assert enhanced.size == image.size
    assert (pixels(enhanced) != pixels(image)).any()


async def test_a_made_picture_is_enhanced_and_both_are_kept_unless_only_the_last_is_wanted(
    focal: Focal,
) -> None:
    asked = {
        "enhance_checkbox": True,
        "enhance_uov_method": "Vary (Subtle)",
        "generate_image_grid": False,
    }
    plain, varied = await made(focal, **asked)
    assert (pixels(plain) != pixels(varied)).any()
    (last,) = await made(focal, **asked, save_final_enhanced_image_only=True)
    assert (pixels(last) == pixels(varied)).all()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"controlnet_image": [{"cn_img": data_url(drawn()), "cn_type": "FaceSwap"}]}, "SDXL"),
        (
            {
                "enhance_checkbox": True,
                "enhance_ctrls": [
                    {
                        "enhance_enabled": True,
                        "enhance_mask_dino_prompt": "a face",
                        "enhance_inpaint_engine": "None",
                    }
                ],
            },
            "Grounding DINO",
        ),
        ({"black_out_nsfw": True}, "safety-checker"),
    ],
)
async def test_a_request_that_needs_a_file_that_is_not_there_is_refused_before_it_waits(
    focal: Focal, asked: dict[str, Any], told: str
) -> None:
    reply = await focal.generate(asked, 503)
    assert reply["code"] == "model_not_installed"
    assert told in reply["detail"]


async def test_an_enhancement_that_has_nothing_to_do_is_asked_what_to_do(focal: Focal) -> None:
    reply = await focal.generate({"enhance_input_image": data_url(drawn())}, 422)
    assert reply["detail"][0]["loc"] == ["body", "enhance_ctrls"]
    control = {"enhance_enabled": True, "enhance_mask_model": "sam"}
    reply = await focal.generate({"enhance_checkbox": True, "enhance_ctrls": [control]}, 422)
    assert reply["detail"][0]["loc"][-1] == "enhance_mask_dino_prompt"
