"""Wrong values of every field of a request."""

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


TOO_LONG = "x" * 16385


# Each field of the contract's section 2 with values that it must refuse: below, above, of another
# type, unknown. A value is followed by what is appended to the field's name in ``loc``.
Case = tuple[object, tuple[str | int, ...]]


def plain(*values: object) -> list[Case]:
    return [(value, ()) for value in values]


def nested(*values: object, at: tuple[str | int, ...]) -> list[Case]:
    return [(value, at) for value in values]


FLAG = plain("yes", 1, [])


TEXT = plain(7, ["a"], "a\0b", TOO_LONG)


UNIT = plain(-0.01, 1.01, "0.5", True)


GROW = plain(-65, 65, 1.5, "1")


CANNY = plain(0, 256, 1.5, "64")


PICTURE = plain(7, True, [], {})


BAD: dict[str, list[Case]] = {
    "prompt": TEXT,
    "negative_prompt": TEXT,
    "style_selections": [
        *plain("Fooocus V2", 7, ["Fooocus V2"] * 65),
        *nested(["No Such Style"], [7], [None], ["../x"], at=(0,)),
        *nested(["Fooocus V2", "fooocus v2"], at=(1,)),
    ],
    "performance_selection": plain("Fast", "speed", "", 4),
    "aspect_ratios_selection": plain("wide", "", "1152", "1152*", "63*64", "2049*64", "0*0", 7),
    "image_number": plain(0, 33, -1, 1.5, "1", True, 10**30),
    "output_format": plain("gif", "PNG", "", "../png", 1),
    "image_seed": plain(-2, 2**63, 1.5, "1", True),
    "read_wildcards_in_order": FLAG,
    "sharpness": plain(-0.1, 30.1, "2", True),
    "guidance_scale": plain(0.9, 30.1, "4", True),
    "base_model_name": plain(7, [], "x" * 513),
    "refiner_model_name": plain(7, []),
    "refiner_switch": plain(0.09, 1.01, "0.5"),
    "loras": [
        *plain("x", 7, [{}] * 33),
        *nested(["x"], [7], at=(0,)),
        *nested([{"enabled": 1}], at=(0, "enabled")),
        *nested([{"model_name": 7}], at=(0, "model_name")),
        *nested([{"weight": -2.1}], [{"weight": 2.1}], [{"weight": "1"}], at=(0, "weight")),
        *nested([{}, {"weight": 3}], at=(1, "weight")),
    ],
    "input_image_checkbox": FLAG,
    "current_tab": plain(7, []),
    "uov_method": plain("Vary", "disabled", "", 1),
    "upscale_multiple": plain(0.9, 5.1, "2"),
    "upscale_model": plain(7, [], "x" * 513),
    "uov_input_image": PICTURE,
    "inpaint_input_image": PICTURE,
    "inpaint_mask_image_upload": PICTURE,
    "enhance_input_image": PICTURE,
    "outpaint_selections": [
        *plain("Left", 7, ["Left"] * 17),
        *nested(["left"], ["Up"], [1], at=(0,)),
    ],
    "outpaint_distance": [
        *plain("1", 7, [1, 2, 3], [1, 2, 3, 4, 5]),
        *nested([-1, 0, 0, 0], [2049, 0, 0, 0], ["1", 0, 0, 0], [0.5, 0, 0, 0], at=(0,)),
        *nested([0, 0, 0, -1], at=(3,)),
    ],
    "inpaint_additional_prompt": TEXT,
    "prompt_expansion": TEXT,
    "disable_preview": FLAG,
    "disable_intermediate_results": FLAG,
    "disable_seed_increment": FLAG,
    "black_out_nsfw": FLAG,
    "adm_scaler_positive": plain(-0.1, 3.1, "1"),
    "adm_scaler_negative": plain(-0.1, 3.1, "1"),
    "adm_scaler_end": UNIT,
    "adaptive_cfg": plain(0.9, 30.1, "7"),
    "guidance_rescale": UNIT,
    "clip_skip": plain(0, 13, 1.5, "2"),
    "sampler_name": plain("dpmpp", "Euler", "", 1),
    "scheduler_name": plain("carras", "Karras", "", 1),
    "vae_name": plain(7, []),
    "overwrite_step": plain(-2, 201, 1.5, "1"),
    "overwrite_switch": plain(-2, 201, 1.5, "1"),
    "overwrite_width": plain(-2, 63, 2049, 64.5, "64"),
    "overwrite_height": plain(-2, 63, 2049, 64.5, "64"),
    "overwrite_vary_strength": plain(-1.1, -0.5, 1.1, "1"),
    "overwrite_upscale_strength": plain(-1.1, -0.5, 1.1, "1"),
    "mixing_image_prompt_and_vary_upscale": FLAG,
    "mixing_image_prompt_and_inpaint": FLAG,
    "debugging_cn_preprocessor": FLAG,
    "skipping_cn_preprocessor": FLAG,
    "canny_low_threshold": CANNY,
    "canny_high_threshold": CANNY,
    "refiner_swap_method": plain("both", "Joint", "", 1),
    "controlnet_softness": UNIT,
    "freeu_enabled": FLAG,
    "freeu_b1": plain(-0.1, 2.1, "1"),
    "freeu_b2": plain(-0.1, 2.1, "1"),
    "freeu_s1": plain(-0.1, 4.1, "1"),
    "freeu_s2": plain(-0.1, 4.1, "1"),
    "debugging_inpaint_preprocessor": FLAG,
    "inpaint_disable_initial_latent": FLAG,
    "inpaint_engine": plain("v3", "V1", "", 1),
    "inpaint_strength": UNIT,
    "inpaint_respective_field": UNIT,
    "inpaint_mask_upload_checkbox": FLAG,
    "inpaint_advanced_masking_checkbox": FLAG,
    "invert_mask_checkbox": FLAG,
    "inpaint_erode_or_dilate": GROW,
    "save_metadata_to_images": FLAG,
    "metadata_scheme": plain("exif", "Fooocus", "", 1),
    "controlnet_image": [
        *plain("x", 7, [{}] * 5),
        *nested(["x"], at=(0,)),
        *nested([{"cn_img": 7}], at=(0, "cn_img")),
        *nested([{"cn_stop": -0.1}], [{"cn_stop": 1.1}], [{"cn_stop": "1"}], at=(0, "cn_stop")),
        *nested([{"cn_weight": -0.1}], [{"cn_weight": 2.1}], at=(0, "cn_weight")),
        *nested([{"cn_type": "Depth"}], [{"cn_type": 1}], at=(0, "cn_type")),
    ],
    "debugging_dino": FLAG,
    "dino_erode_or_dilate": GROW,
    "debugging_enhance_masks_checkbox": FLAG,
    "enhance_checkbox": FLAG,
    "enhance_uov_method": plain("Upscale", "", 1),
    "enhance_uov_processing_order": plain("Before", "", 1),
    "enhance_uov_prompt_type": plain("Original", "", 1),
    "save_final_enhanced_image_only": FLAG,
    "enhance_ctrls": [
        *plain("x", 7, [{}] * 4),
        *nested([7], at=(0,)),
        *nested([{"enhance_enabled": 1}], at=(0, "enhance_enabled")),
        *nested([{"enhance_mask_dino_prompt": 1}], at=(0, "enhance_mask_dino_prompt")),
        *nested([{"enhance_prompt": 1}], at=(0, "enhance_prompt")),
        *nested([{"enhance_negative_prompt": 1}], at=(0, "enhance_negative_prompt")),
        *nested([{"enhance_mask_model": "yolo"}], at=(0, "enhance_mask_model")),
        *nested([{"enhance_mask_cloth_category": "hat"}], at=(0, "enhance_mask_cloth_category")),
        *nested([{"enhance_mask_sam_model": "vit_x"}], at=(0, "enhance_mask_sam_model")),
        *nested([{"enhance_mask_text_threshold": 1.1}], at=(0, "enhance_mask_text_threshold")),
        *nested([{"enhance_mask_box_threshold": -0.1}], at=(0, "enhance_mask_box_threshold")),
        *nested(
            [{"enhance_mask_sam_max_detections": -1}], at=(0, "enhance_mask_sam_max_detections")
        ),
        *nested(
            [{"enhance_inpaint_disable_initial_latent": "no"}],
            at=(0, "enhance_inpaint_disable_initial_latent"),
        ),
        *nested([{"enhance_inpaint_engine": "v9"}], at=(0, "enhance_inpaint_engine")),
        *nested([{"enhance_inpaint_strength": 1.1}], at=(0, "enhance_inpaint_strength")),
        *nested(
            [{"enhance_inpaint_respective_field": -0.1}],
            at=(0, "enhance_inpaint_respective_field"),
        ),
        *nested(
            [{"enhance_inpaint_erode_or_dilate": 65}], at=(0, "enhance_inpaint_erode_or_dilate")
        ),
        *nested([{"enhance_mask_invert": 1}], at=(0, "enhance_mask_invert")),
    ],
    "generate_image_grid": FLAG,
    "preset": plain(7, []),
    "stream_output": FLAG,
    "async_process": FLAG,
    "require_base64": FLAG,
    "webhook_url": plain("ftp://x.example", "x.example", "http://", "javascript:1", 7),
}
