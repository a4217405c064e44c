#!/usr/bin/env bash
# diffusers 0.42.1 with peft 0.21.2: `load_lora_weights` of a kohya file whose layers differ in alpha gives all layers of the UNet one alpha,
# the most common one, and says nothing. Guess that missed: each layer has the alpha that stands beside it, as in kohya's
# scripts. A LoRA that was resized to a rank of its own in each layer, alpha = rank, so loads with wrong strengths.
# Seen (strength = alpha / rank): ranks 8, 4, 8 and alphas 8, 4, 8: 1, 2, 1 instead of 1, 1, 1
#   alphas 4, 1, 4: 0.5, 1, 0.5 instead of 0.5, 0.25, 0.5     alphas 4, 4, 4: as written
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 diffusers==0.42.1 transformers==5.23.0 \
    peft==0.21.2 accelerate==1.15.0
OMP_NUM_THREADS=1 "$folder/venv/bin/python" -W ignore - 2>"$folder/errors" <<'PY' || { cat "$folder/errors" >&2; exit 1; }
import sys

import diffusers
import peft
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

BLOCKS = "down_blocks.1.attentions."
LAYERS = {BLOCKS + name + ".attn2.to_q": rank for name, rank in
          (("0.transformer_blocks.0", 8), ("0.transformer_blocks.1", 4), ("1.transformer_blocks.0", 8))}


def pipeline():
    unet = diffusers.UNet2DConditionModel(
        sample_size=32, block_out_channels=(32, 64), layers_per_block=2, attention_head_dim=(2, 4),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2), cross_attention_dim=64, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=80,
    )
    text = CLIPTextConfig(
        hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2, projection_dim=32, vocab_size=1000
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=None, text_encoder=CLIPTextModel(text), text_encoder_2=CLIPTextModelWithProjection(text), tokenizer=None,
        tokenizer_2=None, unet=unet, scheduler=diffusers.EulerDiscreteScheduler(),
    )


def strengths(alphas):
    """What each layer's change is multiplied by, once a file with these alphas is loaded."""
    stored = {}
    for (name, rank), alpha in zip(LAYERS.items(), alphas):
        key = "lora_unet_" + name.replace(".", "_")
        stored[key + ".lora_down.weight"] = torch.ones(rank, 64)
        stored[key + ".lora_up.weight"] = torch.ones(64, rank)
        stored[key + ".alpha"] = torch.tensor(float(alpha))
    made = pipeline()
    made.load_lora_weights(stored, adapter_name="a")
    modules = dict(made.unet.named_modules())
    return [modules[name].scaling["a"] for name in LAYERS]


print("diffusers", diffusers.__version__, "peft", peft.__version__)
seen = {alphas: strengths(alphas) for alphas in ((8, 4, 8), (4, 1, 4), (4, 4, 4))}
for alphas, found in seen.items():
    written = [alpha / rank for alpha, rank in zip(alphas, LAYERS.values())]
    print("alphas", *alphas, "| loaded", *found, "| written", *written)
same = list(seen.values()) == [[1, 2, 1], [0.5, 1, 0.5], [0.5, 1, 0.5]]
sys.exit(0 if same else 1)
PY
