"""Upscaling networks: what they compute, which files they are read from, and tiles."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from pipeline.errors import InvalidModelFile, TaskAborted
from pipeline.models.rrdb import Network, Shape
from pipeline.models.srvgg import SrvggNetwork, SrvggShape
from pipeline.models.upscaler import Upscaler, load_upscaler

X4 = Shape(channels=8, growth=4, blocks=2, doublings=2, unshuffle=1)
X2 = Shape(channels=8, growth=4, blocks=2, doublings=2, unshuffle=2)
X1 = Shape(channels=8, growth=4, blocks=1, doublings=2, unshuffle=4)
OLD_X2 = Shape(channels=8, growth=4, blocks=2, doublings=1, unshuffle=1)


WIDE = Shape(channels=64, growth=32, blocks=2, doublings=2, unshuffle=1)  # as the published ones
COMPACT = SrvggShape(channels=8, convs=3, factor=4, learned=True)


def make_weights(shape: Shape, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a size at which pictures come out neither flat nor clipped."""
    torch.manual_seed(seed)
    network = Network(shape)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights["conv_last.bias"] += 0.5
    return weights


def make_picture(width: int, height: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(columns / 5), np.cos(rows / 7), np.sin((rows + columns) / 3)]
    return (np.stack(waves, axis=-1) * 120 + 127).astype(np.uint8)


def plain(weights: Mapping[str, Tensor], shape: Shape, x: Tensor) -> Tensor:
    """The generator as its papers write it, layer by layer."""

    def conv(name: str, x: Tensor) -> Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def bent(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * 0.2)

    if shape.unshuffle > 1:
        x = functional.pixel_unshuffle(x, shape.unshuffle)
    first = trunk = conv("conv_first", x)
    for block in range(shape.blocks):
        into_block = trunk
        for rdb in (1, 2, 3):
            name, into = f"body.{block}.rdb{rdb}", trunk
            x1 = bent(conv(f"{name}.conv1", into))
            x2 = bent(conv(f"{name}.conv2", torch.cat((into, x1), 1)))
            x3 = bent(conv(f"{name}.conv3", torch.cat((into, x1, x2), 1)))
            x4 = bent(conv(f"{name}.conv4", torch.cat((into, x1, x2, x3), 1)))
            trunk = into + 0.2 * conv(f"{name}.conv5", torch.cat((into, x1, x2, x3, x4), 1))
        trunk = into_block + 0.2 * trunk
    made = first + conv("conv_body", trunk)
    for number in range(1, shape.doublings + 1):
        made = made.repeat_interleave(2, -1).repeat_interleave(2, -2)
        made = bent(conv(f"conv_up{number}", made))
    return conv("conv_last", bent(conv("conv_hr", made)))


def placed(name: str, shape: Shape) -> str:
    """A layer's name in ESRGAN as first published."""
    hr = 2 + 3 * shape.doublings
    fixed = {"conv_first": "model.0", "conv_body": f"model.1.sub.{shape.blocks}"}
    fixed |= {"conv_hr": f"model.{hr}", "conv_last": f"model.{hr + 2}"}
    fixed |= {f"conv_up{number}": f"model.{3 * number}" for number in range(1, 4)}
    layer, _, kind = name.rpartition(".")
    if layer in fixed:
        return f"{fixed[layer]}.{kind}"
    block, rdb, conv = re.fullmatch(r"body\.(\d+)\.rdb(\d)\.(conv\d)", layer).groups()  # type: ignore[union-attr]
    return f"model.1.sub.{block}.RDB{rdb}.{conv}.0.{kind}"


def in_layer_names(name: str) -> str:
    """A layer's name in ESRGAN's second published layout."""
    pairs = {"conv_body": "trunk_conv", "conv_hr": "HRconv", "body.": "RRDB_trunk."}
    pairs |= {"conv_up": "upconv", ".rdb": ".RDB"}
    for new, old in pairs.items():
        name = name.replace(new, old)
    return name


def write(layout: str, shape: Shape, folder: Path) -> Path:
    weights = make_weights(shape)
    old = {placed(name, shape): tensor for name, tensor in weights.items()}
    if layout == "fooocus":
        path = folder / "upscaler.bin"
        renamed = {re.sub(r"RDB(\d)", r"residual_block_\1", name): t for name, t in old.items()}
        torch.save(renamed, path)
    elif layout == "old":
        path = folder / "upscaler.pth"
        torch.save(old, path)
    elif layout == "second":
        path = folder / "upscaler.pth"
        torch.save({in_layer_names(name): tensor for name, tensor in weights.items()}, path)
    elif layout == "real":
        path = folder / "upscaler.pth"
        raw = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        torch.save({"params": raw, "params_ema": weights}, path)
    else:
        path = folder / "upscaler.safetensors"
        save_file(weights, path)
    return path


@pytest.mark.parametrize("shape", [X4, X2, X1, OLD_X2])
def test_the_network_computes_what_the_papers_say(shape: Shape) -> None:
    network = Network(shape)
    weights = make_weights(shape)
    network.load_state_dict(weights)
    x = torch.rand(1, 3, 12, 16)
    with torch.inference_mode():
        made, wanted = network(x), plain(weights, shape, x)
    assert made.shape == (1, 3, 12 * shape.factor, 16 * shape.factor)
    torch.testing.assert_close(made, wanted)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        ("fooocus", X4),
        ("old", X4),
        ("old", OLD_X2),
        ("second", X4),
        ("real", X4),
        ("real", X2),
        ("real", X1),
        ("safetensors", X4),
    ],
)
def test_every_layout_holds_the_same_network(layout: str, shape: Shape, tmp_path: Path) -> None:
    picture = make_picture(20, 16)
    upscaler = load_upscaler(write(layout, shape, tmp_path))
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255.0
    wanted = plain(make_weights(shape), shape, x)[0].clamp(0, 1).permute(1, 2, 0) * 255.0
    made = upscaler(picture)
    assert upscaler.factor == shape.factor
    assert made.shape == (16 * shape.factor, 20 * shape.factor, 3)
    assert np.abs(made.astype(int) - wanted.to(torch.uint8).numpy().astype(int)).max() <= 1
    assert made.std() > 1


def test_weights_in_half_precision_are_read(tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    torch.save({name: tensor.half() for name, tensor in make_weights(X4).items()}, path)
    assert load_upscaler(path)(make_picture(8, 8)).shape == (32, 32, 3)


@pytest.mark.parametrize("shape", [X4, X2])
def test_tiles_do_not_show(shape: Shape) -> None:
    network = Network(shape)
    network.load_state_dict(make_weights(shape))
    picture = make_picture(101, 75)  # no multiple of anything
    whole = Upscaler(network, tile=128)(picture).astype(float)
    tiled = Upscaler(network, tile=32)(picture).astype(float)
    error = np.square(whole - tiled).mean()
    assert whole.std() > 1
    assert error == 0 or 10 * np.log10(255**2 / error) > 60


@pytest.mark.parametrize("unshuffle", [1, 2])
@pytest.mark.parametrize(("width", "height"), [(16, 12), (17, 14), (19, 1), (2, 23)])
def test_a_cpu_computes_wide_networks_otherwise_and_the_same(
    width: int, height: int, unshuffle: int
) -> None:
    shape = WIDE._replace(unshuffle=unshuffle)
    weights = make_weights(shape)
    network = Network(shape)
    network.load_state_dict(weights)
    x = torch.rand(1, 3, height, width)
    sides = torch.rand(1, 3, height + height % unshuffle, width + width % unshuffle)
    sides[..., :height, :width] = x
    sides[..., height:, :], sides[..., width:] = (
        sides[..., height - 1 : height, :],
        sides[..., width - 1 : width],
    )
    with torch.inference_mode():
        wanted = plain({n: t.double() for n, t in weights.items()}, shape, sides.double())
        direct, fast = network(x), network.for_cpu()(x)
    wanted = wanted[..., : height * shape.factor, : width * shape.factor]
    assert wanted.std() > 0.01
    for made in (direct, fast):
        assert made.shape == wanted.shape
        assert (made - wanted).abs().max() < 2e-5


def compact_weights(shape: SrvggShape) -> dict[str, Tensor]:
    """Random weights, with slopes that differ by channel."""
    torch.manual_seed(1)
    weights = {name: tensor.clone() for name, tensor in SrvggNetwork(shape).state_dict().items()}
    for tensor in weights.values():
        if tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape) * 0.5)
    return weights


def plain_compact(weights: Mapping[str, Tensor], x: Tensor, factor: int) -> Tensor:
    """The compact generator as its authors write it, layer by layer."""
    features, place = x, 0
    while f"body.{place}.weight" in weights:
        weight = weights[f"body.{place}.weight"]
        features = functional.conv2d(features, weight, weights[f"body.{place}.bias"], padding=1)
        slopes = weights.get(f"body.{place + 1}.weight")
        if slopes is not None:
            slopes = slopes.view(1, -1, 1, 1)
        elif f"body.{place + 2}.weight" in weights:
            slopes = torch.tensor(0.1)
        if slopes is not None:
            features = torch.where(features > 0, features, features * slopes)
        place += 2
    shuffled = functional.pixel_shuffle(features, factor)
    return shuffled + x.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


@pytest.mark.parametrize("wrapper", ["params", "params_ema", ""])
@pytest.mark.parametrize(
    "shape",
    [
        COMPACT,
        COMPACT._replace(factor=2, convs=1),
        COMPACT._replace(learned=False),
        COMPACT._replace(factor=1),
        COMPACT._replace(channels=64),  # as wide as the published ones: transformed
        COMPACT._replace(channels=64, learned=False),
    ],
)
def test_a_compact_network_computes_what_its_authors_write(
    tmp_path: Path, shape: SrvggShape, wrapper: str
) -> None:
    weights = compact_weights(shape)
    path = tmp_path / "realesr-animevideov3.pth"
    torch.save({wrapper: weights} if wrapper else weights, path)
    upscaler = load_upscaler(path)
    picture = make_picture(21, 17)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].double() / 255.0
    wanted = plain_compact({n: t.double() for n, t in weights.items()}, x, shape.factor)
    levels = (wanted[0].clamp(0, 1).permute(1, 2, 0) * 255.0).to(torch.uint8).numpy()
    made = upscaler(picture)
    assert upscaler.factor == shape.factor
    assert np.abs(made.astype(int) - levels.astype(int)).max() <= 1
    assert made.std() > 1


@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (3, 5), (4, 4), (15, 17), (16, 16), (17, 33), (31, 64), (33, 20), (48, 3)],
)
def test_a_transformed_compact_network_is_exact_at_any_size(height: int, width: int) -> None:
    network = SrvggNetwork(COMPACT._replace(channels=64))
    network.load_state_dict(compact_weights(COMPACT._replace(channels=64)))
    x = torch.rand(1, 3, height, width)
    with torch.inference_mode():
        wanted = network(x)
        torch.testing.assert_close(network.for_cpu()(x), wanted, atol=1e-4, rtol=0.0)


def test_a_compact_networks_tiles_have_no_seams_at_all() -> None:
    network = SrvggNetwork(COMPACT)
    network.load_state_dict(compact_weights(COMPACT))
    picture = make_picture(101, 75)
    whole = Upscaler(network, tile=128)(picture).astype(int)
    tiled = Upscaler(network, tile=32)(picture).astype(int)
    assert np.abs(whole - tiled).max() <= 1  # where a level is just reached


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"body.0.weight": torch.zeros(8, 1, 3, 3)}, "no compact upscaler of RGB pictures"),
        (
            {"body.0.weight": torch.zeros(8, 3, 3, 3), "body.2.weight": torch.zeros(7, 8, 3, 3)},
            r"its last \[7, 8, 3, 3\]",
        ),
        (
            {"body.0.weight": torch.zeros(8, 3, 3, 3), "body.2.weight": torch.zeros(12, 8, 3, 3)},
            r"missing: body\.0\.bias",
        ),
    ],
)
def test_another_compact_network_is_refused(
    tensors: dict[str, Tensor], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save(tensors, path)
    with pytest.raises(InvalidModelFile, match=rf"other\.pth.*{told}"):
        load_upscaler(path)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 50), (33, 2)])
def test_sizes_are_exact_however_small(width: int, height: int) -> None:
    network = Network(X2)
    network.load_state_dict(make_weights(X2))
    made = Upscaler(network, tile=32)(make_picture(width, height))
    assert made.shape == (2 * height, 2 * width, 3)


def test_each_tile_is_told_and_may_be_the_last() -> None:
    network = Network(X4)
    network.load_state_dict(make_weights(X4))
    told: list[tuple[int, int]] = []

    def stop_at_the_third(done: int, tiles: int) -> None:
        told.append((done, tiles))
        if done == 2:
            raise TaskAborted("stopped")

    with pytest.raises(TaskAborted):
        Upscaler(network, tile=16)(make_picture(32, 32), stop_at_the_third)
    assert told == [(0, 4), (1, 4), (2, 4)]


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"layers.0.weight": torch.zeros(1)}, "no ESRGAN"),
        ({}, "holds nothing"),
        ({"conv_first.weight": torch.zeros(8, 5, 3, 3)}, "no ESRGAN"),
        (
            {"conv_first.weight": torch.zeros(8, 5, 3, 3), "conv_body.weight": torch.zeros(1)},
            "takes 5 channels",
        ),
    ],
)
def test_another_network_is_refused(tensors: dict[str, Tensor], told: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(tensors, path)
    with pytest.raises(InvalidModelFile, match=told):
        load_upscaler(path)


def test_a_network_with_a_layer_missing_is_refused_by_its_name(tmp_path: Path) -> None:
    weights = make_weights(X4)
    del weights["conv_hr.bias"]
    path = tmp_path / "damaged.safetensors"
    save_file(weights, path)
    with pytest.raises(InvalidModelFile, match=r"conv_hr\.bias"):
        load_upscaler(path)
