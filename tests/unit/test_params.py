"""Every row of the generate endpoint's parameter table: defaults, ranges, places of errors."""

from typing import Any

import msgspec
import pytest

from pipeline.errors import InvalidParameter
from pipeline.request.choices import SAMPLER_NAMES, SCHEDULER_NAMES
from pipeline.request.decode import (
    Decoded,
    GenerateParams,
    decode_params,
    parse_aspect_ratio,
    validation_location,
)
from pipeline.request.delivery import REQUEST_FIELDS, Delivery, GenerateRequest


def decode(**fields: object) -> Decoded:
    return decode_params(msgspec.json.encode(fields))


def place_of_error(body: bytes) -> tuple[tuple[str | int, ...], str, str]:
    with pytest.raises((msgspec.ValidationError, InvalidParameter)) as caught:
        decode_params(body)
    error = caught.value
    if isinstance(error, InvalidParameter):
        return ("body", *error.field), str(error), "invalid"
    assert isinstance(error, msgspec.ValidationError)
    return validation_location(error)


TEXTS = ("prompt", "negative_prompt", "inpaint_additional_prompt", "prompt_expansion")
NAMES = (
    "base_model_name",
    "refiner_model_name",
    "vae_name",
    "upscale_model",
    "preset",
    "current_tab",
)
IMAGES = (
    "uov_input_image",
    "inpaint_input_image",
    "inpaint_mask_image_upload",
    "enhance_input_image",
)
BOOLS = (
    "read_wildcards_in_order",
    "input_image_checkbox",
    "disable_preview",
    "disable_intermediate_results",
    "disable_seed_increment",
    "black_out_nsfw",
    "mixing_image_prompt_and_vary_upscale",
    "mixing_image_prompt_and_inpaint",
    "debugging_cn_preprocessor",
    "skipping_cn_preprocessor",
    "freeu_enabled",
    "debugging_inpaint_preprocessor",
    "inpaint_disable_initial_latent",
    "inpaint_mask_upload_checkbox",
    "inpaint_advanced_masking_checkbox",
    "invert_mask_checkbox",
    "save_metadata_to_images",
    "debugging_dino",
    "debugging_enhance_masks_checkbox",
    "enhance_checkbox",
    "save_final_enhanced_image_only",
    "generate_image_grid",
    "stream_output",
    "async_process",
    "require_base64",
)
# field, default, lowest, highest
NUMBERS: tuple[tuple[str, float, float, float], ...] = (
    ("image_number", 1, 1, 32),
    ("image_seed", -1, -1, 2**63 - 1),
    ("sharpness", 2.0, 0, 30),
    ("guidance_scale", 4.0, 1, 30),
    ("refiner_switch", 0.5, 0.1, 1.0),
    ("upscale_multiple", 1.0, 1, 5),
    ("adm_scaler_positive", 1.5, 0, 3),
    ("adm_scaler_negative", 0.8, 0, 3),
    ("adm_scaler_end", 0.3, 0, 1),
    ("adaptive_cfg", 7.0, 1, 30),
    ("guidance_rescale", 0.0, 0, 1),
    ("clip_skip", 2, 1, 12),
    ("overwrite_step", -1, -1, 200),
    ("overwrite_switch", -1, -1, 200),
    ("overwrite_width", -1, -1, 2048),
    ("overwrite_height", -1, -1, 2048),
    ("overwrite_vary_strength", -1, -1, 1),
    ("overwrite_upscale_strength", -1, -1, 1),
    ("canny_low_threshold", 64, 1, 255),
    ("canny_high_threshold", 128, 1, 255),
    ("controlnet_softness", 0.25, 0, 1),
    ("freeu_b1", 1.01, 0, 2),
    ("freeu_b2", 1.02, 0, 2),
    ("freeu_s1", 0.99, 0, 4),
    ("freeu_s2", 0.95, 0, 4),
    ("inpaint_strength", 1.0, 0, 1),
    ("inpaint_respective_field", 0.618, 0, 1),
    ("inpaint_erode_or_dilate", 0, -64, 64),
    ("dino_erode_or_dilate", 0, -64, 64),
)
UOV = (
    "Disabled",
    "Vary (Subtle)",
    "Vary (Strong)",
    "Upscale (1.5x)",
    "Upscale (2x)",
    "Upscale (Fast 2x)",
    "Upscale (Custom)",
)
CHOICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("performance_selection", ("Speed", "Quality", "Extreme Speed", "Lightning", "Hyper-SD")),
    ("output_format", ("png", "jpg", "jpeg", "webp")),
    ("uov_method", UOV),
    ("sampler_name", ("dpmpp_2m_sde_gpu", *SAMPLER_NAMES)),
    ("scheduler_name", ("karras", *SCHEDULER_NAMES)),
    ("refiner_swap_method", ("joint", "separate", "vae")),
    ("inpaint_engine", ("v2.6", "v1", "v2.5", "None")),
    ("metadata_scheme", ("fooocus", "a1111")),
    ("enhance_uov_method", UOV),
    ("enhance_uov_processing_order", ("Before First Enhancement", "After Last Enhancement")),
    ("enhance_uov_prompt_type", ("Original Prompts", "Last Filled Enhancement Prompts")),
)
LISTS = (
    "style_selections",
    "loras",
    "outpaint_selections",
    "outpaint_distance",
    "controlnet_image",
    "enhance_ctrls",
)


def test_every_field_is_covered_by_a_table_here() -> None:
    covered = {*TEXTS, *NAMES, *IMAGES, *BOOLS, *LISTS, "aspect_ratios_selection", "webhook_url"}
    covered |= {row[0] for row in NUMBERS} | {row[0] for row in CHOICES}
    assert covered == set(GenerateRequest.__struct_fields__)


def test_every_field_has_a_description_for_the_docs() -> None:
    schema = msgspec.json.schema(GenerateRequest)
    for struct in schema["$defs"].values():
        for name, field in struct["properties"].items():
            assert "description" in field, name


@pytest.mark.parametrize(("field", "default", "low", "high"), NUMBERS)
def test_a_number_is_taken_between_its_bounds_and_refused_beyond(
    field: str, default: float, low: float, high: float
) -> None:
    assert getattr(GenerateParams(), field) == default
    step = 1 if isinstance(default, int) else 0.01
    for value in (low, high):
        assert getattr(decode(**{field: value}).params, field) == value
    for value in (low - step, high + step):
        location, _, kind = place_of_error(msgspec.json.encode({field: value}))
        assert location == ("body", field)
        assert kind == "out_of_range"


@pytest.mark.parametrize("field", [row[0] for row in NUMBERS])
@pytest.mark.parametrize("value", [b'"3"', b"true", b"[1]", b"1e400", b"-1e400"])
def test_a_number_of_the_wrong_type_is_refused_with_its_place(field: str, value: bytes) -> None:
    assert place_of_error(b'{"%s": %s}' % (field.encode(), value))[0] == ("body", field)


def test_params_and_delivery_share_the_fields_of_a_request() -> None:
    asked = {"prompt": "a cat", "stream_output": True, "webhook_url": "http://a/"}
    decoded = decode(**asked)
    assert decoded.delivery == Delivery(stream_output=True, webhook_url="http://a/")
    assert decoded.present == set(asked)
    shared = {*msgspec.to_builtins(decoded.params), *decoded.delivery.asked}
    assert shared == set(GenerateRequest.__struct_fields__)


def test_a_whole_number_is_taken_for_a_float() -> None:
    assert decode(sharpness=3).params.sharpness == 3.0


@pytest.mark.parametrize(("field", "values"), CHOICES)
def test_a_choice_takes_its_values_and_an_error_lists_them(
    field: str, values: tuple[str, ...]
) -> None:
    assert getattr(GenerateParams(), field) == values[0]
    for value in values:
        assert getattr(decode(**{field: value}).params, field) == value
    location, message, kind = place_of_error(msgspec.json.encode({field: "no such thing"}))
    assert location == ("body", field)
    assert kind == "unknown_value"
    assert all(value in message for value in values)
    assert place_of_error(msgspec.json.encode({field: 3}))[2] == "wrong_type"


@pytest.mark.parametrize("field", BOOLS)
def test_a_flag_is_true_or_false_and_nothing_else(field: str) -> None:
    decoded = decode(**{field: True})
    assert getattr(decoded.delivery if field in REQUEST_FIELDS else decoded.params, field) is True
    for value in ("true", 1, 1.0, 0):
        location, _, kind = place_of_error(msgspec.json.encode({field: value}))
        assert (location, kind) == (("body", field), "wrong_type")


@pytest.mark.parametrize("field", [*TEXTS, *NAMES])
def test_a_text_is_bounded_and_holds_no_nul(field: str) -> None:
    assert getattr(decode(**{field: "a\ncat"}).params, field) == "a\ncat"
    for value in ("x" * 20_000, "a\0b", 3):
        assert place_of_error(msgspec.json.encode({field: value}))[0] == ("body", field)


@pytest.mark.parametrize("field", IMAGES)
def test_no_image_has_three_spellings(field: str) -> None:
    for value in (None, "", "None"):
        assert getattr(decode(**{field: value}).params, field) == ""
    assert place_of_error(msgspec.json.encode({field: 3}))[0] == ("body", field)


@pytest.mark.parametrize("field", LISTS)
def test_a_list_must_be_one(field: str) -> None:
    wrong: tuple[object, ...] = ("a", {}, 3)
    for value in wrong:
        location, _, kind = place_of_error(msgspec.json.encode({field: value}))
        assert (location, kind) == (("body", field), "wrong_type")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"loras": [{"weight": 2.5}]}, ("loras", 0, "weight")),
        ({"loras": [{}, {"weight": "1"}]}, ("loras", 1, "weight")),
        ({"loras": [{"model_name": "a\0"}]}, ("loras", 0, "model_name")),
        ({"loras": [{"enabled": 1}]}, ("loras", 0, "enabled")),
        ({"loras": [3]}, ("loras", 0)),
        ({"loras": [{}] * 33}, ("loras",)),
        ({"style_selections": [1]}, ("style_selections", 0)),
        ({"style_selections": ["a"] * 65}, ("style_selections",)),
        ({"outpaint_selections": ["Up"]}, ("outpaint_selections", 0)),
        ({"outpaint_distance": [1, 2, 3]}, ("outpaint_distance",)),
        ({"outpaint_distance": [0, 0, 0, -1]}, ("outpaint_distance", 3)),
        ({"outpaint_distance": [0, 9999, 0, 0]}, ("outpaint_distance", 1)),
        ({"controlnet_image": [{}] * 5}, ("controlnet_image",)),
        ({"controlnet_image": [{"cn_stop": 1.1}]}, ("controlnet_image", 0, "cn_stop")),
        ({"controlnet_image": [{"cn_weight": 2.1}]}, ("controlnet_image", 0, "cn_weight")),
        ({"controlnet_image": [{"cn_type": "Depth"}]}, ("controlnet_image", 0, "cn_type")),
        ({"enhance_ctrls": [{}] * 4}, ("enhance_ctrls",)),
        (
            {"enhance_ctrls": [{"enhance_mask_sam_model": "vit_x"}]},
            ("enhance_ctrls", 0, "enhance_mask_sam_model"),
        ),
        ({"aspect_ratios_selection": "wide"}, ("aspect_ratios_selection",)),
        ({"aspect_ratios_selection": "1152*"}, ("aspect_ratios_selection",)),
        ({"aspect_ratios_selection": "63*64"}, ("aspect_ratios_selection",)),
        ({"aspect_ratios_selection": "99999*64"}, ("aspect_ratios_selection",)),
        ({"overwrite_width": 63}, ("overwrite_width",)),
        ({"overwrite_vary_strength": -0.5}, ("overwrite_vary_strength",)),
        ({"webhook_url": "ftp://example.org/"}, ("webhook_url",)),
        ({"webhook_url": "http://["}, ("webhook_url",)),
        ({"webhook_url": "https:"}, ("webhook_url",)),
    ],
)
def test_an_error_names_its_place(fields: dict[str, Any], place: tuple[str | int, ...]) -> None:
    assert place_of_error(msgspec.json.encode(fields))[0] == ("body", *place)


FOOOCUS_LABEL = '1152\u00d7896 <span style="color: grey;"> \u2223 9:7</span>'


@pytest.mark.parametrize(
    "text", ["1152*896", "1152\u00d7896", "1152x896", " 1152 X 896 ", FOOOCUS_LABEL]
)
def test_an_aspect_ratio_has_several_spellings(text: str) -> None:
    assert parse_aspect_ratio(text) == (1152, 896)


@pytest.mark.parametrize(
    ("kind", "stop", "weight"),
    [
        ("ImagePrompt", 0.5, 0.6),
        ("FaceSwap", 0.9, 0.75),
        ("PyraCanny", 0.5, 1.0),
        ("CPDS", 0.5, 1.0),
    ],
)
def test_an_image_prompt_takes_its_numbers_from_its_type(
    kind: str, stop: float, weight: float
) -> None:
    fields = [{"cn_type": kind, "cn_img": "None"}, {"cn_type": kind, "cn_stop": 0.1}]
    first, second = decode(controlnet_image=fields).params.controlnet_image
    assert (first.cn_img, first.cn_stop, first.cn_weight) == ("", stop, weight)
    assert (second.cn_stop, second.cn_weight) == (0.1, weight)


def test_a111_means_a1111() -> None:
    assert decode(metadata_scheme="a111").params.metadata_scheme == "a1111"


def test_what_the_request_named_is_told_from_what_it_left_out() -> None:
    decoded = decode(prompt="", sharpness=2.0, save_name="x", loras=[{"foo": 1, "weight": 1}])
    assert decoded.present == {"prompt", "sharpness", "loras"}
    assert decoded.ignored == ("save_name", "loras[0].foo")


@pytest.mark.parametrize("field", GenerateRequest.__struct_fields__)
def test_null_leaves_any_field_out(field: str) -> None:
    decoded = decode(**{field: None})
    assert decoded == decode()
    assert field not in decoded.present


@pytest.mark.parametrize("of", ["loras", "controlnet_image", "enhance_ctrls"])
def test_null_leaves_the_fields_of_a_slot_out(of: str) -> None:
    (slot,) = getattr(decode(**{of: [{}]}).params, of)
    nulls = dict.fromkeys(type(slot).__struct_fields__)
    assert getattr(decode(**{of: [nulls]}).params, of) == (slot,)


@pytest.mark.parametrize(
    "field", [row[0] for row in NUMBERS if type(getattr(GenerateParams(), row[0])) is int]
)
def test_a_whole_number_may_have_a_point(field: str) -> None:
    low = next(row[2] for row in NUMBERS if row[0] == field)
    value = getattr(decode_params(b'{"%s": %s.0}' % (field.encode(), b"%d" % low)).params, field)
    assert (value, type(value)) == (low, int)
    for wrong in (low + 0.5, 1e30, float(2**70)):
        assert place_of_error(msgspec.json.encode({field: wrong}))[0] == ("body", field)


def test_whole_numbers_may_have_a_point_in_lists_and_slots_too() -> None:
    control = {"enhance_mask_sam_max_detections": 3.0, "enhance_inpaint_erode_or_dilate": -4.0}
    params = decode(outpaint_distance=[0.0, 8.0, 1, 2], enhance_ctrls=[control]).params
    assert params.outpaint_distance == (0, 8, 1, 2)
    assert params.enhance_ctrls[0].enhance_mask_sam_max_detections == 3
    assert params.enhance_ctrls[0].enhance_inpaint_erode_or_dilate == -4


def test_a_negative_zero_is_zero() -> None:
    assert decode_params(b'{"image_seed": -0.0}').params.image_seed == 0


@pytest.mark.parametrize(
    "encoding",
    ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
)
def test_a_body_may_be_in_every_encoding_that_json_loads_reads(encoding: str) -> None:
    body = '{"prompt": "\u732b cat \U0001f600", "image_seed": 7}'.encode(encoding)
    assert decode_params(body) == decode(prompt="\u732b cat \U0001f600", image_seed=7)


@pytest.mark.parametrize(
    "body", [b"\xff\xfe{", b"\xff\xfe\x00\xd8\x00\x00", b"\x00\x00\x00{\x00\x11\x00\x00"]
)
def test_a_body_that_is_not_of_the_encoding_it_begins_like_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError, match="begins like utf-"):
        decode_params(body)


def test_of_a_key_given_twice_the_last_counts() -> None:
    assert decode_params(b'{"image_number": 2, "image_number": 3}').params.image_number == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"prompt": NaN}', b"\xff", b'"\xed\xa0\x80"', b'{"a":"\\ud800"}', b"[" * 9999],
)
def test_a_body_that_is_not_json_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        decode_params(body)
    assert not isinstance(caught.value, msgspec.ValidationError)


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"a"'])
def test_a_body_must_be_an_object(body: bytes) -> None:
    assert place_of_error(body)[0] == ("body",)
