"""Families whose text encoders are CLIP, T5 or both."""

from typing import Any

import diffusers
import transformers

from tests.integration.tiny_pipelines.parts import (
    HIDDEN,
    VOCABULARY,
    clip,
    flow,
    t5,
    tokenizer,
    vae,
)


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
        cross_attention_dim=HIDDEN,
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
        joint_attention_dim=HIDDEN * 2,
        caption_projection_dim=HIDDEN,
        pooled_projection_dim=HIDDEN * 2,
        out_channels=16,
    )
    with_projection = transformers.CLIPTextModelWithProjection
    encoder = transformers.T5EncoderModel(
        transformers.T5Config(
            d_model=HIDDEN * 2, d_ff=37, d_kv=8, num_heads=4, num_layers=2, vocab_size=VOCABULARY
        )
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=flow(shift=3.0),
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
        joint_attention_dim=HIDDEN,
        pooled_projection_dim=HIDDEN,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return diffusers.FluxPipeline(
        transformer=transformer,
        scheduler=flow(),
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
        joint_attention_dim=HIDDEN,
        axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32,
        approximator_layers=1,
        approximator_num_channels=16,
    )
    return diffusers.ChromaPipeline(
        transformer=transformer,
        scheduler=flow(),
        vae=vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=t5(),
        tokenizer=tokenizer(),
    )


def pixart_sigma() -> Any:
    """PixArt-sigma."""
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=HIDDEN,
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
        caption_projection_dim=HIDDEN,
        joint_attention_dim=HIDDEN,
        out_channels=4,
        pos_embed_max_size=1024,
    )
    return diffusers.AuraFlowPipeline(
        transformer=transformer,
        scheduler=flow(),
        vae=vae(),
        text_encoder=t5(transformers.UMT5EncoderModel),
        tokenizer=tokenizer(),
    )
