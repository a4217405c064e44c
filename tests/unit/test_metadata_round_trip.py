"""Any request's picture, read back from its file, plans the same picture again."""

import json
import re
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.engine.image_file import encode_described
from pipeline.images.read import look_at
from pipeline.metadata.literal import literal_prompt
from pipeline.metadata.read import ModelNames, Reading, read_parameters
from pipeline.metadata.record import ModelHashes
from pipeline.metadata.titles import SAMPLER_TITLES
from pipeline.metadata.write import plan_record
from pipeline.request.choices import PERFORMANCES, SAMPLER_NAMES, SCHEDULER_NAMES
from pipeline.request.decode import params_from
from pipeline.request.plan import ImagePlan, plan_images
from pipeline.request.presets import Preset
from pipeline.request.prompts import PromptSources, read_prompts
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import EXPANSION, RANDOM, StyleLibrary
from pipeline.request.wildcards import Wildcards, apply_arrays

NAMES: Final = ModelNames(
    checkpoints=("embedded", "sub/base.safetensors", "ref, two.safetensors"),
    loras=("sub/foo.safetensors", "a, b: 1.safetensors", "old.pt"),
    vaes=("Default (model)", "v.safetensors"),
)
STYLES: Final = (
    {"name": "Wrap", "prompt": "photo of {prompt} .", "negative_prompt": "blurry"},
    {"name": 'artist\'s \\ "own"', "prompt": "sharp\n{prompt}", "negative_prompt": ""},
    {"name": "Crisp", "prompt": "crisp", "negative_prompt": "soft\nugly"},
)
HASHES: Final = ModelHashes(
    models={"sub/base.safetensors": "0123456789"},
    loras={"sub/foo.safetensors": "aaaaaaaaaa", "old.pt": "bbbbbbbbbb"},
    lora_tensors={"sub/foo.safetensors": "cccccccccccc"},
)

words = st.sampled_from(
    (
        *("cat", "red", "一只猫", "naïve", "🐈", "(a:1.2)", "[[x, y]]", "[[a,b]]", "[[,.]]", "[[["),
        *("]]", "__color__", "__none__", "__", ",", ".", '"', "'", "\\", "{", "}", "\t", ":"),
        *("<lora:foo:0.5>", "<lora:none:1>", "Steps: 3", "Negative prompt:", "Size: 1x1"),
    )
)
texts = st.lists(
    st.lists(st.tuples(words, st.sampled_from(["", " ", "  ", ", "])), max_size=7), max_size=3
).map(lambda lines: "\n".join("".join(word + gap for word, gap in line) for line in lines))
free_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


def between(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


loras = st.lists(
    st.fixed_dictionaries(
        {"model_name": st.sampled_from(NAMES.loras), "weight": between(-2, 2)},
        optional={"enabled": st.booleans()},
    ),
    max_size=6,
)
requests = st.fixed_dictionaries(
    {
        "prompt": texts | free_texts,
        "negative_prompt": texts | free_texts,
        "style_selections": st.lists(
            st.sampled_from([EXPANSION, RANDOM, "Wrap", 'Artist\'s \\ "own"', "Crisp"]), max_size=4
        ),
        "performance_selection": st.sampled_from(PERFORMANCES),
        "image_seed": st.integers(0, 2**63 - 1),
        "base_model_name": st.sampled_from(NAMES.checkpoints),
        "output_format": st.sampled_from(["png", "jpg", "webp"]),
        "metadata_scheme": st.sampled_from(["fooocus", "a1111"]),
    },
    optional={
        "aspect_ratios_selection": st.sampled_from(["1152*896", "1001*705", "64*2048"]),
        "sharpness": between(0, 30),
        "guidance_scale": between(1, 30),
        "refiner_model_name": st.sampled_from(["None", "ref, two.safetensors"]),
        "refiner_switch": between(0.1, 1),
        "refiner_swap_method": st.sampled_from(["joint", "separate", "vae"]),
        "loras": loras,
        "adm_scaler_positive": between(0, 3),
        "adm_scaler_end": between(0, 1),
        "adaptive_cfg": between(1, 30),
        "guidance_rescale": between(0, 1),
        "clip_skip": st.integers(1, 12),
        "sampler_name": st.sampled_from(SAMPLER_NAMES),
        "scheduler_name": st.sampled_from(SCHEDULER_NAMES),
        "vae_name": st.sampled_from(NAMES.vaes),
        "overwrite_step": st.integers(-1, 200),
        "overwrite_switch": st.integers(-1, 200),
        "freeu_enabled": st.booleans(),
        "freeu_s2": between(0, 4),
        "read_wildcards_in_order": st.booleans(),
    },
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> PromptSources:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "s.json").write_text(json.dumps(STYLES))
    (folder / "color.txt").write_text("red\nlight  blue\nred, green\n")
    return PromptSources(StyleLibrary(folder), Wildcards(folder))


def plan(fields: dict[str, Any], sources: PromptSources) -> ImagePlan:
    preset = (
        Preset(few_step_lora="own.safetensors") if "base" in fields["base_model_name"] else None
    )
    request = resolve_params(params_from(fields), preset, NAMES.loras)
    return plan_images(request, sources)[0]


def written(made: ImagePlan, fields: dict[str, Any]) -> Reading:
    """What a reader finds in the picture's file."""
    record = plan_record(made, params_from(fields), HASHES)
    file = encode_described(Image.new("RGB", (8, 8)), record, params_from(fields))
    assert not file.left_out
    text = look_at(file.data).text
    assert text is not None
    return read_parameters(text.parameters, NAMES)


def same_by_name(sampler: str, scheme: str) -> str:
    """A1111 has one title for two names of one sampler."""
    title = SAMPLER_TITLES.get(sampler)
    if scheme != "a1111" or title is None:
        return sampler
    return [name for name, other in SAMPLER_TITLES.items() if other == title][-1]


def normal(value: Any) -> Any:
    """Without the differences that no text encoder sees: runs of blanks, blanks at the ends."""
    if isinstance(value, str):
        return re.sub(r"\s+", " ", value).strip()
    if isinstance(value, dict):
        return {key: normal(each) for key, each in value.items()}
    return [normal(each) for each in value] if isinstance(value, list | tuple) else value


def what_makes_it(made: ImagePlan, scheme: str) -> Any:
    fields = msgspec.to_builtins(made)
    fields["sampling"]["sampler"] = same_by_name(made.sampling.sampler, scheme)
    for name in ("index", "notes"):
        fields.pop(name, None)
    if made.refiner == "None" and made.swap_method == "joint":
        fields.pop("switch", None)  # nobody takes over
    return normal(fields)


def check_round_trip(sources: PromptSources, fields: dict[str, Any]) -> None:
    made = plan(fields, sources)
    reading = written(made, fields)
    scheme = fields["metadata_scheme"]
    assert (reading.scheme, reading.program, reading.unread) == (scheme, "Focal", ())
    again = plan(reading.parameters, sources)
    assert what_makes_it(again, scheme) == what_makes_it(made, scheme)
    # Once more: what is read of a picture that was made from what was read is the same.
    repeated = written(again, {**fields, **reading.parameters})
    assert normal(repeated.parameters) == normal(reading.parameters)


HURRIED: Final = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)


@settings(max_examples=100, deadline=None, suppress_health_check=HURRIED)
@given(requests)
def test_a_picture_read_back_plans_the_same_picture(
    sources: PromptSources, fields: dict[str, Any]
) -> None:
    check_round_trip(sources, fields)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=20_000, deadline=None, suppress_health_check=HURRIED)
@given(requests)
def test_twenty_thousand_pictures_read_back_plan_the_same_pictures(
    sources: PromptSources, fields: dict[str, Any]
) -> None:
    check_round_trip(sources, fields)


@given(texts | free_texts)
def test_a_literal_prompt_is_taken_as_it_stands(text: str) -> None:
    main = text.replace("\r", "").split("\n")[0].strip("\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
    if len(main.splitlines()) > 1 or re.search(r",(?! )", main):
        return
    prompts = read_prompts(literal_prompt(main), "", NAMES.loras)
    assert prompts.loras == ()
    assert apply_arrays(prompts.main, 7) == main
