"""Image prompts: agreement with diffusers' own IP-Adapter, when they act, and what stays behind."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import UNet2DConditionLoadersMixin
from PIL import Image
from torch import Tensor

from pipeline.adapters.control import Control, ControlledUNet, Residuals
from pipeline.adapters.freeu import freeu_applied
from pipeline.adapters.ip_adapter import ImageAdapter, load_adapter
from pipeline.adapters.ip_attention import ImagePrompt, image_prompts_applied
from pipeline.errors import InvalidModelFile
from pipeline.models.image_encoder import ImageEncoder
from pipeline.models.unet import UNet
from pipeline.request.sampling import FreeU
from pipeline.sampling.denoiser import NetworkInput, UNetCall
from pipeline.sampling.noise_levels import DiscreteLevels
from tests.unit import tiny_adapter

CPU = torch.device("cpu")
LEVELS = DiscreteLevels()
BOTH = (False, True)


@pytest.fixture(scope="module")
def module() -> UNet2DConditionModel:
    return tiny_adapter.make_unet()


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return ImageEncoder(tiny_adapter.make_encoder().requires_grad_(requires_grad=False))


@pytest.fixture(scope="module")
def adapters(
    module: UNet2DConditionModel, tmp_path_factory: pytest.TempPathFactory
) -> list[ImageAdapter]:
    folder = tmp_path_factory.mktemp("adapters")
    paths = [
        tiny_adapter.write_adapter(folder / f"{seed}.bin", tiny_adapter.make_adapter(module, seed))
        for seed in (1, 2)
    ]
    return [load_adapter(path, module, CPU) for path in paths]


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def asked(rows: tuple[bool, ...] = BOTH, sigma: float = 5.0) -> NetworkInput:
    """A question with a row of its own for each prompt."""
    generator = torch.Generator().manual_seed(7)

    def of_rows(*shape: int) -> Tensor:
        both = torch.randn(2, *shape, generator=generator)
        return both[[int(row) for row in rows]]

    return NetworkInput(
        x=of_rows(4, 16, 16),
        timestep=torch.full((len(rows),), 500.0),
        context=of_rows(77, 8),
        pooled=of_rows(4),
        time_ids=torch.full((len(rows), 6), 128.0),
        sigma=sigma,
        positive=rows,
    )


@pytest.fixture(scope="module")
def prompt_of(
    adapters: list[ImageAdapter], encoder: ImageEncoder
) -> Callable[[int, float, float], ImagePrompt]:
    def make(which: int, weight: float, stop: float = 1.0) -> ImagePrompt:
        tokens = adapters[which].tokens(picture(which), encoder)
        return ImagePrompt(adapters[which], tokens.positive, tokens.negative, weight, stop)

    return make


MakePrompt = Callable[..., ImagePrompt]


def guess(
    module: UNet2DConditionModel, prompts: Sequence[ImagePrompt], given: NetworkInput
) -> Tensor:
    network = UNet(module)
    with (
        torch.inference_mode(),
        image_prompts_applied(network, module, prompts, LEVELS) as call,
    ):
        return call(given)


class LoadingUNet(UNet2DConditionModel, UNet2DConditionLoadersMixin):  # type: ignore[misc]
    """A network with diffusers' loaders, which ``pipeline.models.networks`` leaves out."""


def by_diffusers(
    weights: Mapping[int, float], encoder: ImageEncoder, given: NetworkInput
) -> Tensor:
    """What diffusers' own IP-Adapter makes of the same files, pictures and weights."""
    unet = tiny_adapter.make_unet()
    files = [tiny_adapter.make_adapter(unet, which + 1) for which in weights]
    unet.__class__ = LoadingUNet
    unet._load_ip_adapter_weights(files, low_cpu_mem_usage=False)
    for name, processor in unet.attn_processors.items():
        if name.endswith("attn2.processor"):
            processor.scale = list(weights.values())
    features = [
        torch.stack([encoder.blank_features(), encoder.features(picture(which))])
        for which in weights
    ]
    made: Tensor = unet(
        given.x,
        given.timestep,
        encoder_hidden_states=given.context,
        added_cond_kwargs={
            "text_embeds": given.pooled,
            "time_ids": given.time_ids,
            "image_embeds": features,
        },
    ).sample
    return made


@pytest.mark.parametrize(
    "weights", [{0: 1.0}, {0: 0.6}, {0: 2.0}, {0: 0.6, 1: 1.3}, {1: 0.25, 0: 0.75}]
)
def test_the_network_answers_as_diffusers_ip_adapter_does(
    weights: dict[int, float],
    module: UNet2DConditionModel,
    encoder: ImageEncoder,
    prompt_of: MakePrompt,
) -> None:
    expected = by_diffusers(weights, encoder, asked())
    prompts = [prompt_of(which, weight) for which, weight in weights.items()]
    made, plain = guess(module, prompts, asked()), guess(module, [], asked())
    assert (made - expected).norm() / expected.norm() < 1e-4
    assert (plain - expected).norm() / expected.norm() > 1e-2


def test_each_row_is_shown_what_belongs_to_its_prompt(
    module: UNet2DConditionModel, prompt_of: MakePrompt
) -> None:
    prompts = [prompt_of(0, 1.0), prompt_of(1, 0.5)]
    together = guess(module, prompts, asked())
    for row in BOTH:
        alone = guess(module, prompts, asked((row,)))
        torch.testing.assert_close(alone[0], together[int(row)], rtol=1e-4, atol=1e-4)
    twice = guess(module, prompts, asked((False, False, True, True)))
    torch.testing.assert_close(twice[::2], together, rtol=1e-4, atol=1e-4)


def test_a_prompt_without_weight_or_time_changes_nothing(
    module: UNet2DConditionModel, prompt_of: MakePrompt
) -> None:
    plain = guess(module, [], asked())
    assert torch.equal(guess(module, [prompt_of(0, 0.0), prompt_of(1, 1.0, 0.0)], asked()), plain)


def test_without_prompts_the_network_itself_is_asked(module: UNet2DConditionModel) -> None:
    network = UNet(module)
    with image_prompts_applied(network, module, [], LEVELS) as call:
        assert call is network


def test_each_prompt_acts_until_its_own_stop(
    module: UNet2DConditionModel, prompt_of: MakePrompt
) -> None:
    early, late = prompt_of(0, 1.0, 0.3), prompt_of(1, 1.0, 0.8)
    last_early, last_late = LEVELS.sigma_at(0.3), LEVELS.sigma_at(0.8)
    at = {
        last_early: [early, late],  # the level of the stop itself counts
        last_early * 0.999: [late],
        last_late: [late],
        last_late * 0.999: [],
    }
    for sigma, acting in at.items():
        given = asked(sigma=sigma)
        always = [
            ImagePrompt(each.adapter, each.tokens_positive, each.tokens_negative, 1.0, 1.0)
            for each in acting
        ]
        assert torch.equal(guess(module, [early, late], given), guess(module, always, given))


def test_after_the_picture_the_network_is_as_it_was(
    module: UNet2DConditionModel, prompt_of: MakePrompt
) -> None:
    before, processors = guess(module, [], asked()), list(module.attn_processors.values())
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert not torch.equal(guess(module, [prompt_of(0, 1.0)], asked()), before)
    with (
        pytest.raises(KeyError),
        image_prompts_applied(UNet(module), module, [prompt_of(0, 1.0)], LEVELS),
    ):
        raise KeyError
    assert torch.equal(guess(module, [], asked()), before)
    assert all(a is b for a, b in zip(module.attn_processors.values(), processors, strict=True))
    after = module.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())


def test_other_users_of_the_network_do_not_see_the_images(
    module: UNet2DConditionModel, prompt_of: MakePrompt
) -> None:
    network = UNet(module)
    before = network(asked())
    with image_prompts_applied(network, module, [prompt_of(0, 1.0)], LEVELS) as call:
        call(asked())
        assert torch.equal(network(asked()), before)


SKIPS = (
    (32, 16),
    (32, 16),
    (32, 8),
    (64, 8),
    (64, 4),
    (128, 4),
)  # channels and sides of the UNet's


class Hints:
    """A control network that adds the mean of its hint everywhere."""

    def follow_base(self) -> None:
        """It shares nothing with the UNet."""

    def __call__(self, given: NetworkInput, hint: Tensor) -> Residuals:
        count, level = len(given.positive), float(hint.mean())
        down = [torch.full((count, channels, side, side), level) for channels, side in SKIPS]
        return Residuals(tuple(down), torch.full((count, 128, 4, 4), level))


def test_image_prompts_controls_and_freeu_act_together_in_any_order(
    module: UNet2DConditionModel, prompt_of: MakePrompt
) -> None:
    control = Control(Hints(), torch.full((1, 3, 128, 128), 0.5), weight=1.0, stop=1.0)
    controlled: UNetCall = ControlledUNet(UNet(module), [control], 0.25, LEVELS)
    prompts, freeu = [prompt_of(0, 1.0)], FreeU(1.3, 1.4, 0.9, 0.2)
    with image_prompts_applied(controlled, module, prompts, LEVELS) as call:
        both = call(asked())
        with freeu_applied(module, freeu):
            all_three = call(asked())
    with (
        freeu_applied(module, freeu),
        image_prompts_applied(controlled, module, prompts, LEVELS) as call,
    ):
        assert torch.equal(call(asked()), all_three)
    answers = [both, all_three, controlled(asked()), guess(module, prompts, asked())]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(answers, 2))


def test_a_stopped_prompt_leaves_the_networks_answer_bit_for_bit(
    module: UNet2DConditionModel, prompt_of: MakePrompt
) -> None:
    given = asked(sigma=0.05)
    stopped = guess(module, [prompt_of(0, 2.0, 0.5)], given)
    assert torch.equal(stopped, guess(module, [], given))


def test_an_adapter_works_in_the_networks_own_dtype(
    module: UNet2DConditionModel, encoder: ImageEncoder, prompt_of: MakePrompt, tmp_path: Path
) -> None:
    expected = guess(module, [prompt_of(0, 1.0)], asked())
    half = tiny_adapter.make_unet().to(torch.bfloat16)
    path = tiny_adapter.write_adapter(tmp_path / "a.bin", tiny_adapter.make_adapter(module, 1))
    adapter = load_adapter(path, half, CPU)
    tokens = adapter.tokens(picture(0), encoder)
    assert tokens.positive.dtype == torch.bfloat16
    prompt = ImagePrompt(adapter, tokens.positive, tokens.negative, 1.0, 1.0)
    made, plain = guess(half, [prompt], asked()), guess(half, [], asked())
    assert made.dtype == torch.float32
    assert (made - expected).norm() < 0.3 * (plain - expected).norm()


def test_both_kinds_of_file_are_read_alike(
    module: UNet2DConditionModel, encoder: ImageEncoder, tmp_path: Path
) -> None:
    published = tiny_adapter.make_adapter(module, 1)
    tokens = []
    for name in ("adapter.bin", "adapter.safetensors"):
        path = tiny_adapter.write_adapter(tmp_path / name, published)
        tokens.append(load_adapter(path, module, CPU).tokens(picture(1), encoder))
    assert torch.equal(tokens[0].positive, tokens[1].positive)
    assert tokens[0].positive.shape == (1, tiny_adapter.TOKENS, 8)
    assert not torch.equal(tokens[0].positive, tokens[0].negative)


def test_the_resamplers_depth_is_read_from_the_file(
    module: UNet2DConditionModel, encoder: ImageEncoder, tmp_path: Path
) -> None:
    made = []
    for depth in (1, 2):
        published = tiny_adapter.make_adapter(module, 1, depth)
        path = tiny_adapter.write_adapter(tmp_path / f"{depth}.bin", published)
        made.append(load_adapter(path, module, CPU).tokens(picture(1), encoder).positive)
    assert not torch.allclose(made[0], made[1])


def without(group: str, name: str) -> Callable[[tiny_adapter.Published], None]:
    def change(adapter: tiny_adapter.Published) -> None:
        del adapter[group][name]

    return change


def with_tensor(group: str, name: str, *shape: int) -> Callable[[tiny_adapter.Published], None]:
    def change(adapter: tiny_adapter.Published) -> None:
        adapter[group][name] = torch.zeros(shape)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("ip_adapter", "3.to_v_ip.weight"), "1 missing: 3.to_v_ip.weight"),
        (with_tensor("ip_adapter", "99.to_k_ip.weight", 2, 2), "unknown: 99.to_k_ip.weight"),
        (with_tensor("ip_adapter", "1.to_k_ip.weight", 9, 8), "1.to_k_ip.weight is [9, 8]"),
        (without("image_proj", "proj_in.bias"), "1 missing: proj_in.bias"),
        (without("image_proj", "layers.0.0.to_q.weight"), "to_q.weight is missing"),
        (with_tensor("image_proj", "layers.1.0.to_kv.weight"), "of another shape|unknown"),
        (with_tensor("image_proj", "layers.0.0.to_q.weight", 50, 48), "no multiple of 64"),
        (with_tensor("image_proj", "latents", 5, 48), "latents is of shape [5, 48]"),
        (without("image_proj", "latents"), 'only "plus" files'),
        (lambda adapter: adapter.pop("ip_adapter"), "no ip_adapter"),
        (lambda adapter: adapter.pop("image_proj"), "no image_proj"),
        (lambda adapter: adapter.clear(), "it begins with no tensor"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(
    change: Callable[[tiny_adapter.Published], object],
    words: str,
    module: UNet2DConditionModel,
    tmp_path: Path,
) -> None:
    published = tiny_adapter.make_adapter(module)
    change(published)
    path = tiny_adapter.write_adapter(tmp_path / "odd.bin", published)
    with pytest.raises(InvalidModelFile) as refused:
        load_adapter(path, module, CPU)
    assert any(each in str(refused.value) for each in words.split("|"))
    assert "odd.bin" in str(refused.value)


def test_an_adapter_for_another_class_of_models_is_refused(
    module: UNet2DConditionModel, tmp_path: Path
) -> None:
    other = tiny_adapter.make_unet(width=12)
    path = tiny_adapter.write_adapter(tmp_path / "a.bin", tiny_adapter.make_adapter(other))
    with pytest.raises(InvalidModelFile, match="of another shape"):
        load_adapter(path, module, CPU)


def test_an_encoder_of_another_width_is_refused(
    module: UNet2DConditionModel, encoder: ImageEncoder, tmp_path: Path
) -> None:
    published = tiny_adapter.make_adapter(module)
    published["image_proj"]["proj_in.weight"] = torch.zeros(48, 99)
    adapter = load_adapter(
        tiny_adapter.write_adapter(tmp_path / "wide.bin", published), module, CPU
    )
    with pytest.raises(InvalidModelFile, match=r"reads 99 features a patch.* gives 40"):
        adapter.tokens(picture(0), encoder)
