"""Their parts: tokenizer, text encoders, autoencoder, scheduler."""

from typing import Any, Final

import diffusers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS: Final = (
    "a",
    "red",
    "green",
    "blue",
    "boat",
    "house",
    "tree",
    "on",
    "the",
    "lake",
    "cat",
    "dog",
)
_SPECIAL: Final = ("<pad>", "<s>", "</s>", "<unk>")
_CHAT: Final = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
VOCABULARY: Final = len(WORDS) + len(_SPECIAL)
HIDDEN: Final = 32


def tokenizer(length: int = 32, bos: bool = True) -> Any:
    """Words by white space; others are unknown."""
    known = {word: index for index, word in enumerate((*_SPECIAL, *WORDS))}
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
        chat_template=_CHAT,
    )


def clip(kind: Any = None) -> Any:
    """A CLIP text encoder."""
    config = transformers.CLIPTextConfig(
        hidden_size=HIDDEN,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        projection_dim=HIDDEN,
        vocab_size=VOCABULARY,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return (kind or transformers.CLIPTextModel)(config).eval()


def t5(kind: Any = None) -> Any:
    """A T5 encoder."""
    config = (transformers.UMT5Config if kind else transformers.T5Config)(
        d_model=HIDDEN, d_ff=37, d_kv=8, num_heads=4, num_layers=2, vocab_size=VOCABULARY
    )
    return (kind or transformers.T5EncoderModel)(config).eval()


def gemma() -> Any:
    """A Gemma 2 decoder."""
    config = transformers.Gemma2Config(
        head_dim=16,
        hidden_size=8,
        intermediate_size=8,
        num_attention_heads=2,
        num_hidden_layers=1,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        pad_token_id=0,
    )
    return transformers.Gemma2Model(config).eval()


def qwen3() -> Any:
    """A Qwen 3 decoder."""
    config = transformers.Qwen3Config(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=VOCABULARY,
        max_position_embeddings=512,
        pad_token_id=0,
    )
    return transformers.Qwen3Model(config).eval()


def qwen_vl() -> Any:
    """A Qwen 2.5 VL decoder, whose vision tower sees nothing."""
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": VOCABULARY,
            "rope_scaling": {
                "mrope_section": [1, 1, 2],
                "rope_type": "default",
                "type": "default",
            },
            "rope_theta": 1000000.0,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
        },
        hidden_size=16,
        vocab_size=VOCABULARY,
        vision_end_token_id=3,
        vision_start_token_id=3,
        vision_token_id=3,
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config).eval()


def vae(channels: int = 4, **options: Any) -> Any:
    """An AutoencoderKL that makes latents half as large as images."""
    return diffusers.AutoencoderKL(
        block_out_channels=(32, 32),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        sample_size=32,
        **options,
    ).eval()


def flow(**options: Any) -> Any:
    """The scheduler of flow matching models."""
    return diffusers.FlowMatchEulerDiscreteScheduler(**options)
