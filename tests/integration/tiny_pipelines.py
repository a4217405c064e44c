"""Small random pipelines of diffusers' real classes, with their text encoders and tokenizers.

Nothing is downloaded: networks are built from small configurations, tokenizers from a few words.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
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
_VOCABULARY: Final = len(WORDS) + len(_SPECIAL)
_HIDDEN: Final = 32


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
        hidden_size=_HIDDEN,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        projection_dim=_HIDDEN,
        vocab_size=_VOCABULARY,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return (kind or transformers.CLIPTextModel)(config).eval()


def t5(kind: Any = None) -> Any:
    """A T5 encoder."""
    config = (transformers.UMT5Config if kind else transformers.T5Config)(
        d_model=_HIDDEN, d_ff=37, d_kv=8, num_heads=4, num_layers=2, vocab_size=_VOCABULARY
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
        vocab_size=_VOCABULARY,
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
        vocab_size=_VOCABULARY,
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
            "vocab_size": _VOCABULARY,
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
        vocab_size=_VOCABULARY,
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


def _flow(**options: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**options)


def stable_diffusion() -> Any:
    """Stable Diffusion 1.5."""
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_HIDDEN,
    )
    return diffusers.StableDiffusionPipeline(
        unet=unet,
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        vae=vae(),
        text_encoder=clip(),
        tokenizer=tokenizer(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_3() -> Any:
    """Stable Diffusion 3."""
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,  # as its inpainting asks
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=_HIDDEN * 2,
        caption_projection_dim=_HIDDEN,
        pooled_projection_dim=_HIDDEN * 2,
        out_channels=16,
    )
    with_projection = transformers.CLIPTextModelWithProjection
    encoder = transformers.T5EncoderModel(
        transformers.T5Config(
            d_model=_HIDDEN * 2, d_ff=37, d_kv=8, num_heads=4, num_layers=2, vocab_size=_VOCABULARY
        )
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=_flow(shift=3.0),
        vae=vae(16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=clip(with_projection),
        tokenizer=tokenizer(),
        text_encoder_2=clip(with_projection),
        tokenizer_2=tokenizer(),
        text_encoder_3=encoder.eval(),
        tokenizer_3=tokenizer(),
        image_encoder=None,
        feature_extractor=None,
    )


def flux() -> Any:
    """Flux.1 dev."""
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=_HIDDEN,
        pooled_projection_dim=_HIDDEN,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return diffusers.FluxPipeline(
        transformer=transformer,
        scheduler=_flow(),
        vae=vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=clip(),
        tokenizer=tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(),
    )


def chroma() -> Any:
    """Chroma."""
    transformer = diffusers.ChromaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=_HIDDEN,
        axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32,
        approximator_layers=1,
        approximator_num_channels=16,
    )
    return diffusers.ChromaPipeline(
        transformer=transformer,
        scheduler=_flow(),
        vae=vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=t5(),
        tokenizer=tokenizer(),
    )


def sana() -> Any:
    """Sana."""
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=32,
    )
    autoencoder = diffusers.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
    return diffusers.SanaPipeline(
        transformer=transformer,
        scheduler=_flow(shift=3.0),
        vae=autoencoder.eval(),
        text_encoder=gemma(),
        tokenizer=tokenizer(512),
    )


def lumina_2() -> Any:
    """Lumina Image 2."""
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        hidden_size=8,
        num_layers=2,
        num_attention_heads=1,
        num_kv_heads=1,
        multiple_of=16,
        ffn_dim_multiplier=None,
        norm_eps=1e-5,
        scaling_factor=1.0,
        axes_dim_rope=(4, 2, 2),
        cap_feat_dim=8,
    )
    return diffusers.Lumina2Pipeline(
        transformer=transformer,
        scheduler=_flow(),
        vae=vae(shift_factor=0.06),
        text_encoder=gemma(),
        tokenizer=tokenizer(256),
    )


def pixart_sigma() -> Any:
    """PixArt-sigma."""
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=_HIDDEN,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
    )
    return diffusers.PixArtSigmaPipeline(
        transformer=transformer,
        scheduler=diffusers.DDIMScheduler(),
        vae=vae(),
        text_encoder=t5(),
        tokenizer=tokenizer(),
    )


def auraflow() -> Any:
    """AuraFlow."""
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=_HIDDEN,
        joint_attention_dim=_HIDDEN,
        out_channels=4,
        pos_embed_max_size=1024,
    )
    return diffusers.AuraFlowPipeline(
        transformer=transformer,
        scheduler=_flow(),
        vae=vae(),
        text_encoder=t5(transformers.UMT5EncoderModel),
        tokenizer=tokenizer(),
    )


def z_image() -> Any:
    """Z-Image."""
    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        norm_eps=1e-5,
        qk_norm=True,
        cap_feat_dim=16,
        rope_theta=256.0,
        t_scale=1000.0,
        axes_dims=(8, 4, 4),
        axes_lens=(256, 32, 32),
    )
    for name, parameter in transformer.named_parameters():
        if name.endswith("pad_token"):  # created empty, as published weights fill them
            torch.nn.init.normal_(parameter.data)
    return diffusers.ZImagePipeline(
        transformer=transformer,
        scheduler=_flow(),
        vae=vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=qwen3(),
        tokenizer=tokenizer(512),
    )


def qwen_image() -> Any:
    """Qwen-Image."""
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=3,
        joint_attention_dim=16,
        guidance_embeds=False,
        axes_dims_rope=(8, 4, 4),
    )
    autoencoder = diffusers.AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    return diffusers.QwenImagePipeline(
        transformer=transformer,
        scheduler=_flow(),
        vae=autoencoder.eval(),
        text_encoder=qwen_vl(),
        tokenizer=tokenizer(512),
    )


PIPELINES: Final[dict[str, Callable[[], Any]]] = {
    "sd15": stable_diffusion,
    "sd3": stable_diffusion_3,
    "flux": flux,
    "chroma": chroma,
    "sana": sana,
    "lumina2": lumina_2,
    "pixart": pixart_sigma,
    "auraflow": auraflow,
    "zimage": z_image,
    "qwen": qwen_image,
}


def save_pipeline(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a pipeline of ``PIPELINES`` in diffusers' layout."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = PIPELINES[name]()
    made.save_pretrained(folder)
    return folder
