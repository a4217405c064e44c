"""A checkpoint of random weights, small, in the layout that the loader reads."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from pipeline.models.checkpoint import load_checkpoint
from tests.integration.tiny_sdxl import write_configs
from tools.make_random_sdxl import random_weights, write_random_checkpoint


def test_what_is_written_is_a_checkpoint_that_loads(tmp_path: Path) -> None:
    configs = write_configs(tmp_path / "configs")
    path = tmp_path / "random.safetensors"
    size = write_random_checkpoint(path, configs)
    assert size == path.stat().st_size
    kinds = {t.dtype for t in load_file(path).values() if t.is_floating_point()}
    assert kinds == {torch.float16}
    checkpoint = load_checkpoint(
        path, torch.device("cpu"), single_file_configs=tmp_path / "configs"
    )
    context, pooled = checkpoint.text.encode_one("a cat", 2)
    assert context.isfinite().all()
    assert pooled.isfinite().all()


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    configs = write_configs(tmp_path / "configs")
    for name in ("a", "b"):
        write_random_checkpoint(tmp_path / name, configs, seed=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_layer_keeps_the_variance_of_what_comes_in() -> None:
    like = torch.empty((256, 512), dtype=torch.float16, device="meta")
    weight = random_weights("to_k.weight", like, torch.Generator().manual_seed(1))
    x = torch.randn((64, 512), generator=torch.Generator().manual_seed(2))
    assert 0.8 < (x @ weight.float().T).std() < 1.2
