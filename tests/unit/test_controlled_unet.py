"""Controls: how strongly, when, and on what size of hint they act."""

from collections.abc import Sequence

import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.adapters.control import (
    Control,
    ControlledUNet,
    Residuals,
    fit_hint,
    hint_tensor,
    softness_weights,
)
from pipeline.sampling.denoiser import NetworkInput
from pipeline.sampling.noise_levels import DiscreteLevels

LEVELS = DiscreteLevels()


class Network:
    """A control network whose every output is the mean of its hint; it remembers what it saw."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def follow_base(self) -> None:
        """It shares nothing."""

    def __call__(self, given: NetworkInput, hint: Tensor) -> Residuals:
        self.sizes.append(tuple(hint.shape))
        return Residuals((hint.mean(),) * 9, hint.mean())


def unet(
    given: NetworkInput,
    down_residuals: Sequence[Tensor] | None = None,
    middle_residual: Tensor | None = None,
) -> Tensor:
    """What it was given: nine outputs of the controls and the middle's, or zeros."""
    if down_residuals is None or middle_residual is None:
        return torch.zeros(10)
    return torch.stack([*down_residuals, middle_residual])


def ask(sigma: float, height: int = 16, width: int = 24, rows: int = 2) -> NetworkInput:
    return NetworkInput(
        x=torch.zeros(rows, 4, height, width),
        timestep=torch.zeros(rows),
        context=torch.zeros(rows, 77, 8),
        pooled=torch.zeros(rows, 4),
        time_ids=torch.zeros(rows, 6),
        sigma=sigma,
        positive=(False, True)[:rows],
    )


def control(value: float = 1.0, weight: float = 1.0, stop: float = 1.0) -> Control:
    return Control(Network(), torch.full((1, 3, 128, 192), value), weight, stop)


def steered(*controls: Control, softness: float = 0.0, sigma: float = 5.0) -> Tensor:
    return ControlledUNet(unet, controls, softness, LEVELS)(ask(sigma))


def test_softness_weakens_the_outputs_nearest_to_the_picture_most_and_spares_the_middle() -> None:
    assert softness_weights(9, 0.0) == [1.0] * 9
    assert softness_weights(9, 1.0) == pytest.approx([i / 9 for i in range(9)])
    assert softness_weights(9, 0.25)[0] == 0.75
    assert steered(control(), softness=1.0).tolist() == pytest.approx([i / 9 for i in range(10)])


def test_a_weight_scales_every_output() -> None:
    assert steered(control(weight=0.5)).tolist() == [0.5] * 10


def test_several_controls_add_up() -> None:
    made = steered(control(1.0, weight=0.5), control(0.25, weight=2.0))
    assert made.tolist() == [1.0] * 10


def test_a_control_of_weight_0_is_not_even_asked() -> None:
    idle = Network()
    ControlledUNet(unet, [Control(idle, torch.ones(1, 3, 8, 8), 0.0, 1.0)], 0.25, LEVELS)(ask(5))
    assert not idle.sizes


@pytest.mark.parametrize(("stop", "sigmas_at_work"), [(0.0, 0), (0.5, 2), (1.0, 3)])
def test_a_control_works_until_its_stop(stop: float, sigmas_at_work: int) -> None:
    halfway = LEVELS.sigma_at(0.5)
    levels = [LEVELS.sigma_max, halfway, halfway * 0.99]
    at_work = [bool(steered(control(stop=stop), sigma=sigma).any()) for sigma in levels]
    assert at_work == [i < sigmas_at_work for i in range(3)]


def test_controls_stop_each_for_itself() -> None:
    made = steered(control(1.0, stop=0.1), control(0.5), sigma=0.1)
    assert made.tolist() == [0.5] * 10


def test_a_hint_has_the_size_of_the_picture_whatever_was_given() -> None:
    network = Network()
    one = ControlledUNet(unet, [Control(network, torch.ones(1, 3, 50, 90), 1, 1)], 0.25, LEVELS)
    one(ask(5.0))
    one(ask(5.0, height=8, width=8, rows=1))
    assert network.sizes == [(1, 3, 128, 192), (1, 3, 64, 64)]


def test_a_hint_of_another_shape_loses_its_sides_evenly() -> None:
    columns = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 4, 8)
    assert fit_hint(columns, 4, 4)[0, 0, 0].tolist() == [2.0, 3.0, 4.0, 5.0]
    rows = columns.transpose(2, 3)
    assert fit_hint(rows, 4, 4)[0, 0, :, 0].tolist() == [2.0, 3.0, 4.0, 5.0]


def test_a_small_hint_is_enlarged_without_new_levels() -> None:
    edges = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).view(1, 1, 2, 2)
    assert fit_hint(edges, 4, 4)[0, 0].tolist() == [
        [0.0, 0.0, 1.0, 1.0],
        [0.0, 0.0, 1.0, 1.0],
        [1.0, 1.0, 0.0, 0.0],
        [1.0, 1.0, 0.0, 0.0],
    ]


def test_a_picture_becomes_a_hint_of_0_to_1() -> None:
    image = Image.new("RGB", (3, 2), (255, 51, 0))
    hint = hint_tensor(image)
    assert hint.shape == (1, 3, 2, 3)
    assert hint[0, :, 1, 2].tolist() == pytest.approx([1.0, 0.2, 0.0])
    assert torch.equal(hint_tensor(image.convert("L"))[0, 0], hint_tensor(image.convert("L"))[0, 2])
