"""Vision models of the real classes, small and random, against what publishes them.

Preprocessing and what becomes of the outputs are our own; transformers' processors, diffusers'
safety checker and Segment Anything's own package say what must come out.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertTokenizer
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.blip.modeling_blip import BlipForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
    GroundingDinoImageProcessorPil,
)
from transformers.models.grounding_dino.modeling_grounding_dino import (
    GroundingDinoForObjectDetection,
)
from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.sam.processing_sam import SamProcessor

from pipeline.errors import InvalidModelFile
from pipeline.vision.describe import load_captioner
from pipeline.vision.detection import Box, load_detector
from pipeline.vision.safety import Censor, load_safety_checker
from pipeline.vision.segment import load_segmenter
from tests.integration import tiny_vision
from tests.integration.tiny_vision import SAM_BOXES, SAM_RECORDED, picture

CPU = torch.device("cpu")
PROMPT = "A cat. red square"


@pytest.fixture(autouse=True)
def _without_gradients() -> Any:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision.save_detector(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam")
    tiny_vision.make_sam().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("size", [(96, 64), (40, 90)])
def test_boxes_are_those_of_the_published_processor(
    detector_folder: Path, size: tuple[int, int]
) -> None:
    image = picture(*size)
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil(), AutoTokenizer.from_pretrained(detector_folder)
    )
    model = GroundingDinoForObjectDetection.from_pretrained(detector_folder).eval()
    inputs = processor(images=image, text="a cat. red square.", return_tensors="pt")
    threshold = float(model(**inputs).logits.sigmoid().max(-1).values.median())  # half of them
    (expected,) = processor.post_process_grounded_object_detection(
        model(**inputs), inputs.input_ids, threshold, 0.0, target_sizes=[(size[1], size[0])]
    )
    order = expected["scores"].argsort(descending=True)
    assert 1 < len(order) < 12
    found = load_detector(detector_folder, CPU).find(image, PROMPT, threshold, 0.0)
    torch.testing.assert_close(torch.tensor(found), expected["boxes"][order], atol=0.05, rtol=0)


def test_a_find_none_of_whose_words_matches_is_none(detector_folder: Path) -> None:
    detector = load_detector(detector_folder, CPU)
    assert len(detector.find(picture(), PROMPT, 0.0, 0.0)) == 12
    assert detector.find(picture(), PROMPT, 0.0, 1.0) == []


def test_a_very_long_prompt_is_cut_not_refused(detector_folder: Path) -> None:
    detector = load_detector(detector_folder, CPU)
    assert len(detector.find(picture(), "red cat. " * 400, 0.0, 0.0)) == 12


def test_a_very_narrow_picture_can_be_looked_at(detector_folder: Path, sam_folder: Path) -> None:
    strip = Image.new("RGB", (5000, 1), "red")
    assert len(load_detector(detector_folder, CPU).find(strip, "red", 0.0, 0.0)) == 12
    mask = load_segmenter(sam_folder, CPU).mask(strip, [Box(0, 0, 100, 1)])
    assert mask.size == (5000, 1)


@pytest.mark.parametrize("size", [(96, 64), (50, 130)])
def test_masks_are_those_of_the_published_processor(
    sam_folder: Path, size: tuple[int, int]
) -> None:
    image = picture(*size)
    side = {"height": 64, "width": 64}
    processor = SamProcessor(SamImageProcessorPil(size={"longest_edge": 64}, pad_size=side))
    model = tiny_vision.make_sam()
    boxes = [Box(5, 5, 40, 50), Box(10, 20, 45, 60)]
    inputs = processor(image, input_boxes=[[list(box) for box in boxes]], return_tensors="pt")
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    inputs["input_boxes"] = inputs["input_boxes"].float()
    masks = model(**inputs, multimask_output=False).pred_masks
    (expected,) = processor.image_processor.post_process_masks(masks, *sizes, pad_size=side)
    found = np.asarray(load_segmenter(sam_folder, CPU).mask(image, boxes)) > 0
    union = expected.any(dim=0)[0].numpy()
    assert 0.02 < union.mean() < 0.98
    assert (found != union).mean() < 0.002


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_an_original_file_draws_what_the_original_draws(tmp_path: Path, ending: str) -> None:
    tensors = tiny_vision.sam_original()
    path = tmp_path / f"sam_vit_b_01ec64.{ending}"
    if ending == "pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    mask = load_segmenter(path, CPU).mask(picture(), [Box(*box) for box in SAM_BOXES])
    recorded = np.asarray(Image.open(SAM_RECORDED / "mask.png"))
    assert 0.1 < recorded.mean() < 0.9
    assert ((np.asarray(mask) > 0) != recorded).mean() < 0.002


def test_many_boxes_are_the_union_of_each(sam_folder: Path) -> None:
    segmenter = load_segmenter(sam_folder, CPU)
    boxes = [Box(i, i, i + 20, i + 15) for i in range(40)]
    together = np.asarray(segmenter.mask(picture(), boxes)) > 0
    each = [np.asarray(segmenter.mask(picture(), [box])) > 0 for box in boxes]
    assert (together != np.any(each, axis=0)).mean() < 0.002
    assert not np.asarray(segmenter.mask(picture(), [])).any()


def test_a_caption_is_what_the_published_processor_leads_to(tmp_path: Path) -> None:
    folder = tiny_vision.save_captioner(tmp_path)
    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    size = {"height": 32, "width": 32}
    pixels = BlipImageProcessorPil(size=size)(picture(), return_tensors="pt").pixel_values
    tokens = model.generate(pixel_values=pixels, num_beams=3, max_new_tokens=60)
    expected = AutoTokenizer.from_pretrained(folder).decode(tokens[0], skip_special_tokens=True)
    captioner = load_captioner(folder, CPU)
    assert captioner.describe(picture()) == expected.strip() != ""
    assert captioner.describe(picture()) == captioner.describe(picture())


@pytest.fixture(scope="module")
def checker() -> StableDiffusionSafetyChecker:
    torch.manual_seed(13)
    made = StableDiffusionSafetyChecker(tiny_vision.safety_config()).eval()
    with torch.no_grad():
        for name in ("concept_embeds", "special_care_embeds"):
            getattr(made, name).normal_()
            getattr(made, f"{name}_weights").fill_(0.99)
    return made


def save_checker(checker: StableDiffusionSafetyChecker, layout: str, folder: Path) -> Path:
    """As published: one pickled file as in 2022, or a folder as transformers writes it now."""
    if layout == "folder":
        checker.save_pretrained(folder)
        return folder
    tensors = {
        name.replace("vision_model.", "vision_model.vision_model.", 1): tensor
        for name, tensor in checker.state_dict().items()
    }
    tensors["vision_model.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    path = folder / "stable-diffusion-safety-checker.bin"
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_the_checker_objects_where_the_published_one_does(
    checker: StableDiffusionSafetyChecker, layout: str, tmp_path: Path
) -> None:
    size = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    pixels = CLIPImageProcessorPil(**size)(picture(), return_tensors="pt").pixel_values
    pooled = checker.vision_model(pixels)[1]
    embedding = torch.nn.functional.normalize(checker.visual_projection(pooled))
    ideas = torch.nn.functional.normalize(checker.concept_embeds)
    nearest = float((embedding @ ideas.T).max())
    verdicts = []
    # Just within reach, just out of it, and out of it by less than what delicate things cost.
    for threshold, delicate in ((-0.002, 0.99), (0.002, 0.99), (0.005, -1.0), (0.02, -1.0)):
        checker.concept_embeds_weights.fill_(nearest + threshold)
        checker.special_care_embeds_weights.fill_(delicate)
        (path := save_checker(checker, layout, tmp_path)).touch()
        ours = load_safety_checker(path, CPU)
        _, expected = checker(pixels, np.zeros((1, 4, 4, 3)))
        verdicts.append(ours.objects_to(picture()))
        assert verdicts[-1] == expected[0]
    assert verdicts == [True, False, True, False]


class Notes:
    """A reporter that keeps what it is told to note."""

    def __init__(self) -> None:
        self.notes: dict[str, object] = {}

    def note(self, key: str, value: object) -> None:
        """Keep it."""
        self.notes[key] = value


def test_what_is_objected_to_becomes_black_and_the_record_says_which(
    checker: StableDiffusionSafetyChecker, tmp_path: Path
) -> None:
    checker.special_care_embeds_weights.fill_(0.99)
    checker.concept_embeds_weights.fill_(-1.0)  # everything is near enough to something
    notes: Any = Notes()
    strict = Censor(load_safety_checker(save_checker(checker, "file", tmp_path), CPU), notes)
    for number in (1, 3):
        black = strict(picture(), number)
        assert black.size == picture().size
        assert not np.asarray(black).any()
    assert notes.notes == {"blacked_out": [1, 3]}
    checker.concept_embeds_weights.fill_(1.0)
    mild = Censor(load_safety_checker(save_checker(checker, "file", tmp_path), CPU), notes)
    image = picture()
    assert mild(image, 4) is image
    assert notes.notes == {"blacked_out": [1, 3]}


def test_files_of_other_kinds_are_refused_by_name(tmp_path: Path, sam_folder: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, other)
    with pytest.raises(InvalidModelFile, match="no safety checker"):
        load_safety_checker(other, CPU)
    with pytest.raises(InvalidModelFile, match="no Segment Anything model"):
        load_segmenter(other, CPU)
    with pytest.raises(InvalidModelFile, match=r"no Grounding DINO detector.*that of 'sam'"):
        load_detector(sam_folder, CPU)
    with pytest.raises(InvalidModelFile, match="no whole model folder"):
        load_captioner(tmp_path, CPU)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"<html>", "a web page"),
        (b"version https://git-lfs.x\nsize 9\n", "Git LFS"),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_folders_file_that_is_no_model_is_called_what_it_is(
    sam_folder: Path, tmp_path: Path, name: str, data: bytes, told: str
) -> None:
    folder = tmp_path / "sam"
    shutil.copytree(sam_folder, folder)
    (folder / name).write_bytes(data)
    with pytest.raises(InvalidModelFile) as refused:
        load_segmenter(folder, CPU)
    assert name in str(refused.value)
    assert told in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = tiny_vision.save_captioner(tmp_path)
    words = {f"word{i}": i for i in range(5000)} | {"[UNK]": 5000}
    BertTokenizer(vocab=words).save_pretrained(folder)
    with pytest.raises(InvalidModelFile, match="no BLIP captioner: its tokenizer knows 50"):
        load_captioner(folder, CPU)


def test_a_folder_that_lacks_tensors_is_refused_not_filled_with_random_ones(
    sam_folder: Path, tmp_path: Path
) -> None:
    tensors = load_file(sam_folder / "model.safetensors")
    del tensors["mask_decoder.iou_token.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((sam_folder / "config.json").read_bytes())
    with pytest.raises(InvalidModelFile, match=r"mask_decoder\.iou_token\.weight"):
        load_segmenter(tmp_path, CPU)
