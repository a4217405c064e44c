"""Random vision models of the real classes, small, in the layouts that are published."""

import csv
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from onnx import TensorProto, helper
from PIL import Image, ImageDraw
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    SamConfig,
    SamModel,
    SwinConfig,
)

WORDS: Final = ("a", "cat", "dog", "red", "square", "on", "blue", "the", "of", "picture")
# Grounding DINO knows BERT's special tokens and full stop by these numbers.
_NUMBERED: Final = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
_STOPS: Final = {".": 1012, "?": 1029}
_VOCABULARY: Final = 1100
_FIRST_WORD: Final = 1040


def picture(width: int = 96, height: int = 64) -> Image.Image:
    """A red square on blue, with something of every level, so that normalising matters."""
    image = Image.new("RGB", (width, height), (20, 40, 200))
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 4, height // 4, width // 2, height * 3 // 4), fill=(250, 30, 10))
    draw.ellipse((width // 2, 2, width - 4, height // 2), fill=(240, 240, 240))
    return image


def save_tokenizer(folder: Path) -> None:
    """A BERT tokenizer of a few words, its special tokens where the published one has them."""
    tokens = [f"[unused{i}]" for i in range(_VOCABULARY)]
    for token, number in {**_NUMBERED, **_STOPS}.items():
        tokens[number] = token
    tokens[_FIRST_WORD : _FIRST_WORD + len(WORDS)] = WORDS
    vocabulary = {token: number for number, token in enumerate(tokens)}
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)


def save_detector(folder: Path) -> Path:
    """Grounding DINO."""
    torch.manual_seed(3)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=32,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=2,
            out_features=["stage2", "stage3", "stage4"],
            out_indices=[2, 3, 4],
        ),
        text_config={
            "model_type": "bert",
            "vocab_size": _VOCABULARY,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        },
        num_queries=12,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    model = GroundingDinoForObjectDetection(config)
    torch.nn.init.normal_(model.bbox_embed[0].layers[-1].weight, std=0.5)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def make_sam() -> SamModel:
    """Segment Anything that sees 64 pixels a side."""
    torch.manual_seed(5)
    config = SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "window_size": 3,
            "global_attn_indexes": [1],
            "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 32, "iou_head_hidden_dim": 16},
    )
    model = SamModel(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def save_captioner(folder: Path) -> Path:
    """BLIP."""
    torch.manual_seed(7)
    config = BlipConfig(
        text_config={
            "vocab_size": _VOCABULARY,
            "hidden_size": 16,
            "encoder_hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "projection_dim": 16,
            "bos_token_id": _FIRST_WORD,
            "eos_token_id": 102,
            "sep_token_id": 102,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=16,
    )
    model = BlipForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def safety_config() -> CLIPConfig:
    """Sizes of a small safety checker; its heads are as wide as the published one's."""
    return CLIPConfig(
        text_config={"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1},
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "image_size": 28,
            "patch_size": 14,
        },
        projection_dim=12,
    )


def save_background(path: Path, side: int, classes: int = 1) -> Path:
    """An ONNX file as rembg's: (1, 3, side, side) to (1, classes, side, side).

    With one class the level is how red the pixel is; with four, the classes are nothing, red,
    green and blue.
    """
    colours = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    weights = colours[:3] if classes == 1 else [0.2, 0.2, 0.2, *colours]
    kernel = helper.make_tensor("kernel", TensorProto.FLOAT, (classes, 3, 1, 1), weights)
    shape: list[str | int | None] = ["batch", 3, side, side]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input.1", "kernel"], ["1959"])],
        "background",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("1959", TensorProto.FLOAT, ["batch", classes, side, side])],
        [kernel],
    )
    return _save(graph, path)


TAGS: Final = (
    ("rating:safe", "9", 0.99),
    ("long_hair", "0", 0.4),
    ("1girl", "0", 0.9),
    ("hatsune_miku_(vocaloid)", "4", 0.95),
    ("^_^", "0", 0.5),
    ("outdoors", "0", 0.34),
    ("somebody", "4", 0.8),
)


def save_tagger(folder: Path, tags: tuple[tuple[str, str, float], ...] = TAGS) -> Path:
    """The tagger's folder: it is sure of its ``tags`` whatever it is shown, and their table."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "selected_tags.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("tag_id", "name", "category", "count"))
        table.writerows((i, name, kind, 1) for i, (name, kind, _) in enumerate(tags))
    sure = helper.make_tensor("sure", TensorProto.FLOAT, (len(tags),), [tag[2] for tag in tags])
    none = helper.make_tensor("none", TensorProto.FLOAT, (1,), [0.0])
    shape: list[str | int | None] = ["batch", len(tags)]
    axes = helper.make_tensor("axes", TensorProto.INT64, (3,), [1, 2, 3])
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input_1:0", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "none"], ["nothing"]),
            helper.make_node("Unsqueeze", ["nothing", "last"], ["column"]),
            helper.make_node("Add", ["column", "sure"], ["predictions_sigmoid"]),
        ],
        "tagger",
        [helper.make_tensor_value_info("input_1:0", TensorProto.FLOAT, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("predictions_sigmoid", TensorProto.FLOAT, shape)],
        [sure, none, axes, helper.make_tensor("last", TensorProto.INT64, (1,), [1])],
    )
    _save(graph, folder / "model.onnx")
    return folder


def _save(graph: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


SAM_RECORDED: Final = Path(__file__).parent / "segment_anything"
SAM_BOXES: Final = ((10.0, 10.0, 50.0, 50.0), (40.0, 5.0, 90.0, 60.0))


def sam_original() -> dict[str, torch.Tensor]:
    """Random tensors under the names of Segment Anything's own files, always the same ones."""
    numbers = torch.Generator().manual_seed(7)
    tensors = {}
    for line in (SAM_RECORDED / "names.txt").read_text(encoding="utf-8").splitlines():
        name, *sides = line.split()
        values = torch.randn([int(side) for side in sides], generator=numbers)
        if len(sides) > 1:
            tensors[name] = values * 0.2
        else:
            tensors[name] = values * 0.1 + (1.0 if ".norm" in name and "weight" in name else 0.0)
    return tensors
