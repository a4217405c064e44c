"""Our CLIP text model computes what transformers' does, to the bit."""

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from pipeline.errors import InvalidModelFile
from pipeline.text.clip_model import (
    ClipTextModel,
    ClipTextModelWithProjection,
    read_clip_config,
)

SIZES = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "projection_dim": 24,
    "eos_token_id": 98,
    "bos_token_id": 97,
}


def random_ids() -> torch.Tensor:
    return torch.randint(0, 97, (3, 77), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_every_hidden_state_is_that_of_transformers(activation: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    config = {**SIZES, "hidden_act": activation}
    theirs = CLIPTextModel(CLIPTextConfig(**config)).to(dtype).eval()
    ours = ClipTextModel(read_clip_config(config, "text encoder")).to(dtype).eval()
    ours.load_state_dict(theirs.state_dict())
    wanted = theirs(random_ids(), output_hidden_states=True)
    got = ours(random_ids())
    assert len(got.hidden) == len(wanted.hidden_states) == 4
    for state, expected in zip(got.hidden, wanted.hidden_states, strict=True):
        assert torch.equal(state, expected)
    assert torch.equal(got.last, wanted.last_hidden_state)


def test_both_models_name_their_weights_as_transformers_does() -> None:
    sizes = read_clip_config(SIZES, "text encoder")
    theirs = CLIPTextModelWithProjection(CLIPTextConfig(**SIZES)).state_dict()
    ours = ClipTextModelWithProjection(sizes).state_dict()
    assert {name: t.shape for name, t in ours.items()} == {n: t.shape for n, t in theirs.items()}


@pytest.mark.parametrize("wrong", [{"hidden_act": "selu"}, {"hidden_size": "wide"}])
def test_a_configuration_that_cannot_be_built_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidModelFile, match="second text encoder"):
        read_clip_config({**SIZES, **wrong}, "second text encoder")
