"""What a run begins from: sizes, latents, strengths, and pictures that need no run."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pipeline.engine.start import InitialLatents, Start
from pipeline.errors import InvalidParameter
from pipeline.models.vae import crop_to_cells
from pipeline.request.goals import Inpaint, Upscale, Vary
from pipeline.request.sizes import LATENT_FACTOR

SIDE = 256
GREY = 0.5


class MeanVae:
    """A latent of cells' mean colours, the grey of all, and a little noise."""

    factor = LATENT_FACTOR

    def __init__(self) -> None:
        self.tiled: list[bool] = []

    def encode(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        self.tiled.append(False)
        return self._latent(pixels, generator)

    def encode_tiled(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        self.tiled.append(True)
        return self._latent(pixels, generator)

    @staticmethod
    def _latent(pixels: Tensor, generator: torch.Generator) -> Tensor:
        cells = functional.avg_pool2d(crop_to_cells(pixels, LATENT_FACTOR), LATENT_FACTOR)
        made = torch.cat([cells, cells.mean(dim=1, keepdim=True)], dim=1)
        return made + torch.randn(made.shape, generator=generator) * 1e-3


def latents(seed: int = 1, native_side: int = SIDE) -> InitialLatents:
    return InitialLatents(MeanVae(), seed, native_side)


def make_image(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.NEAREST)


def make_mask(width: int, height: int) -> Image.Image:
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 4, height // 4, width // 2, height // 2))
    return mask


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255.0


def latent_of(start: Start) -> Tensor:
    assert start.latent is not None
    return start.latent


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 900), st.integers(20, 900))
def test_a_run_has_the_size_of_its_latent(width: int, height: int) -> None:
    starts = [
        latents().vary(Vary(0.5), make_image(width, height)),
        latents().upscale(Upscale(1.5, fast=False, denoise=0.4), make_image(width, height)),
    ]
    for start in starts:
        if start.finished is None:
            assert latent_of(start).shape == (1, 4, start.height // 8, start.width // 8)
        else:
            assert start.finished.size == (start.width, start.height)


@pytest.mark.parametrize(
    ("size", "native_side", "made"),
    [
        ((100, 100), 256, (256, 256)),
        ((300, 300), 256, (296, 296)),  # between the limits: whole cells of the picture itself
        ((1024, 1024), 256, (512, 512)),
        ((1024, 1024), 1024, (1024, 1024)),
        ((320, 192), 256, (320, 192)),
    ],
)
def test_a_varied_picture_is_brought_between_the_models_limits(
    size: tuple[int, int], native_side: int, made: tuple[int, int]
) -> None:
    start = latents(native_side=native_side).vary(Vary(0.5), make_image(*size))
    assert (start.width, start.height) == made
    assert (start.denoise, start.tiled, start.inpaint) == (0.5, False, None)


class CrampedVae(MeanVae):
    """Has no room for a picture whole."""

    def encode(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        super().encode(pixels, generator)  # draws noise before it fails
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")


def test_a_picture_for_which_the_device_has_no_room_is_encoded_in_tiles() -> None:
    cramped = InitialLatents(CrampedVae(), 1, SIDE)
    start = cramped.vary(Vary(0.5), make_image(256, 256))
    tiled = MeanVae().encode_tiled(
        to_tensor(make_image(256, 256)), torch.Generator().manual_seed(1)
    )
    assert torch.equal(latent_of(start), tiled)


def test_an_upscaled_picture_is_gone_over_in_tiles() -> None:
    vae = MeanVae()
    goal = Upscale(2.0, fast=False, denoise=0.4)
    start = InitialLatents(vae, 1, SIDE).upscale(goal, make_image(200, 160))
    assert (start.width, start.height) == (400, 320)
    assert (start.denoise, start.tiled) == (0.4, True)
    assert vae.tiled == [True]


@pytest.mark.parametrize(
    ("size", "fast", "factor", "made"),
    [
        ((200, 160), True, 2.0, (400, 320)),
        ((501, 401), False, 1.7, (851, 681)),  # above the limit of 700 for this model
        ((50, 25), True, 2.0, (368, 176)),  # too small: brought to what the model is used to
    ],
)
def test_a_fast_or_very_large_picture_is_finished_when_it_is_enlarged(
    size: tuple[int, int], fast: bool, factor: float, made: tuple[int, int]
) -> None:
    goal = Upscale(factor, fast=fast, denoise=0.4)
    start = latents().upscale(goal, make_image(*size))
    assert start.finished is not None
    assert start.finished.size == made
    assert start.latent is None


def test_an_upscalers_details_are_in_the_result() -> None:
    def enlarge(
        pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.full((pixels.shape[0] * 4, pixels.shape[1] * 4, 3), 77, np.uint8)

    with_upscaler = InitialLatents(MeanVae(), 1, SIDE, enlarge)
    goal = Upscale(2.0, fast=True, denoise=0.4)
    start = with_upscaler.upscale(goal, make_image(200, 160))
    assert start.finished is not None
    assert start.finished.getextrema() == ((77, 77),) * 3


def test_a_picture_that_would_get_too_large_is_refused() -> None:
    huge = Image.new("RGB", (8000, 8000))
    with pytest.raises(InvalidParameter, match="8000x8000") as refused:
        latents().upscale(Upscale(1.0, fast=True, denoise=0.4), huge)
    assert refused.value.field == ("uov_input_image",)


def test_a_seed_gives_the_same_latent_again() -> None:
    image = make_image(256, 256)
    one, again, other = (latents(seed).vary(Vary(0.5), image) for seed in (1, 1, 2))
    assert torch.equal(latent_of(one), latent_of(again))
    assert not torch.equal(latent_of(one), latent_of(other))


@pytest.mark.parametrize("denoise", [0.0, 1e-9])
def test_a_strength_of_nothing_leaves_the_picture_alone(denoise: float) -> None:
    image = make_image(256, 256)
    varied = latents().vary(Vary(denoise), image)
    painted = latents().inpaint(Inpaint(strength=denoise), image, make_mask(256, 256))
    for start in (varied, painted):
        assert start.finished is not None
        assert start.finished.tobytes() == image.tobytes()


def test_painting_in_keeps_the_pictures_size_and_all_beyond_the_soft_mask() -> None:
    image, mask = make_image(301, 243), make_mask(301, 243)
    start = latents().inpaint(Inpaint(), image, mask)
    assert start.inpaint is not None
    made = Image.new("RGB", (start.width, start.height), (1, 2, 3))
    whole = np.asarray(start.inpaint.paste(made))
    before = np.asarray(image)
    assert whole.shape == before.shape
    outside = start.inpaint.area.soft_mask == 0
    np.testing.assert_array_equal(whole[outside], before[outside])
    inside = np.asarray(mask) == 255
    assert (whole[inside] == (1, 2, 3)).all()


def test_a_full_strength_begins_from_a_fill_and_a_lower_one_from_the_picture() -> None:
    image = Image.new("RGB", (256, 256), "white")
    image.paste((0, 0, 0), (64, 64, 128, 128))
    mask = Image.new("L", (256, 256))
    mask.paste(255, (56, 56, 136, 136))
    goal = Inpaint(field=1.0, strength=0.5)
    kept = latent_of(latents().inpaint(goal, image, mask))
    filled = latent_of(latents().inpaint(Inpaint(field=1.0), image, mask))
    assert kept[0, 3, 12, 12] == pytest.approx(0.0, abs=0.01)
    assert filled[0, 3, 12, 12] > 0.9


def test_only_a_patched_model_is_shown_what_is_around_the_mask() -> None:
    image, mask = Image.new("RGB", (256, 256), "white"), make_mask(256, 256)
    plain = latents().inpaint(Inpaint(field=1.0), image, mask)
    patched = latents().inpaint(Inpaint(field=1.0, engine="v2.6"), image, mask)
    assert plain.inpaint is not None
    assert plain.inpaint.surroundings is None
    assert patched.inpaint is not None
    surroundings = patched.inpaint.surroundings
    assert surroundings is not None
    painted = surroundings.mask.expand_as(surroundings.latent) == 1
    torch.testing.assert_close(
        surroundings.latent[painted], torch.full_like(surroundings.latent[painted], GREY),
        atol=0.01, rtol=0,
    )  # fmt: skip
    torch.testing.assert_close(
        surroundings.latent[~painted], torch.ones_like(surroundings.latent[~painted]),
        atol=0.01, rtol=0,
    )  # fmt: skip


def test_from_noise_there_is_no_latent_to_begin_from_but_one_to_keep() -> None:
    goal = Inpaint(from_noise=True)
    start = latents().inpaint(goal, make_image(256, 256), make_mask(256, 256))
    assert start.latent is None
    assert start.inpaint is not None
    assert start.inpaint.inpainting.latent.shape == (1, 4, start.height // 8, start.width // 8)


def test_outpainting_needs_no_mask_and_grows_the_picture() -> None:
    image = make_image(200, 100)
    goal = Inpaint(sides=("Left",), distances=(0, 20, 0, 0), field=1.0)
    start = latents().inpaint(goal, image, None)
    assert start.inpaint is not None
    made = start.inpaint.paste(Image.new("RGB", (start.width, start.height)))
    assert made.size == (260, 120)
    right = made.crop((60 + 32, 20 + 32, 260, 120))
    assert right.tobytes() == image.crop((32, 32, 200, 100)).tobytes()
    assert made.getpixel((0, 0)) == (0, 0, 0)


def test_the_mask_is_changed_before_it_is_turned_around() -> None:
    goal = Inpaint(grow_mask=-8, invert_mask=True, field=1.0)
    start = latents().inpaint(goal, make_image(256, 256), make_mask(256, 256))
    assert start.inpaint is not None
    mask = start.inpaint.area.mask
    assert mask[0, 0] == 255
    assert mask[64 + 4, 64 + 4] == 255
    assert mask[96, 96] == 0


@pytest.mark.parametrize(
    ("goal", "mask"),
    [
        (Inpaint(), None),
        (Inpaint(), Image.new("L", (256, 256))),
        (Inpaint(invert_mask=True), Image.new("L", (256, 256), 255)),
        (Inpaint(grow_mask=-64), make_mask(256, 256)),
    ],
)
def test_nothing_to_paint_is_an_error(goal: Inpaint, mask: Image.Image | None) -> None:
    with pytest.raises(InvalidParameter, match="nothing to paint"):
        latents().inpaint(goal, make_image(256, 256), mask)
