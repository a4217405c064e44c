"""Every call of Fooocus-API-python-client: ``python use_fooocus_api.py URL``."""

import base64
import json
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import fooocusapi_client as client
from fooocusapi_client.models import (
    AsyncJobResponse,
    DescribeImageType,
    ImagePromptJson,
    ImgInpaintOrOutpaintRequestJson,
    ImgPromptRequestJson,
    ImgUpscaleOrVaryRequestJson,
    JobHistoryResponse,
    Text2ImgRequest,
    Text2ImgRequestWithPrompt,
)

URL = sys.argv[1]
WAIT_S = 120
# What its JSON requests say unless told otherwise, so our own endpoint is told it as well.
SENT = {
    "negative_prompt": "",
    "aspect_ratios_selection": "256*256",
    "sharpness": 2.0,
    "guidance_scale": 4.0,
    "base_model_name": "embedded",
    "refiner_switch": 0.5,
}
ASKED = {**SENT, "prompt": "a red star on a blue background", "image_seed": 7}
FORM = {"prompt": ASKED["prompt"], "image_seed": 7}
FEW_STEPS = {"overwrite_step": 4}


def ours(**params):
    """The picture of our own endpoint."""
    request = urllib.request.Request(
        f"{URL}/v1/engine/generate/", json.dumps(params).encode(), {"Accept": "image/png"}
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return answer.read()


def fetched(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


@contextmanager
def refused(status):
    """The call within must be answered with this status; gives a list, then with its body."""
    said = []
    try:
        yield said
    except client.ApiException as error:
        assert error.status == status, error
        said.append(json.loads(error.body))
    else:
        raise AssertionError("it was not refused")


def only(answer):
    """The one picture of a synchronous answer."""
    (image,) = answer.actual_instance
    assert image["finish_reason"] == "SUCCESS", image
    return image


def text(api, star):
    made = api.text2img_generation_v1_generation_text_to_image_post(
        Text2ImgRequest(**ASKED, advanced_params=FEW_STEPS_JSON, require_base64=True)
    )
    image = only(made)
    assert image["seed"] == "7"
    picture = fetched(image["url"])
    assert base64.b64decode(image["base64"].partition(",")[2]) == picture
    assert picture == ours(**ASKED, **FEW_STEPS)
    star.write_bytes(picture)
    prompts = [ImagePromptJson.from_dict({"cn_img": "None", "cn_stop": 0, "cn_weight": 0})]
    made = api.text_to_img_with_ip_v2_generation_text_to_image_with_ip_post(
        Text2ImgRequestWithPrompt(**ASKED, advanced_params=FEW_STEPS_JSON, image_prompts=prompts)
    )
    assert fetched(only(made)["url"]) == picture


def vary(api, star, encoded):
    varied = {"uov_method": "Vary (Subtle)", "uov_input_image": encoded}
    made = api.img_upscale_or_vary_v1_generation_image_upscale_vary_post(
        str(star), "Vary (Subtle)", **FORM, style_selections=["Fooocus Sharp", "Fooocus Enhance"]
    )
    styles = {"style_selections": ["Fooocus Sharp", "Fooocus Enhance"]}
    assert fetched(only(made)["url"]) == ours(**FORM, **varied, **styles)
    made = api.img_upscale_or_vary_v2_v2_generation_image_upscale_vary_post(
        ImgUpscaleOrVaryRequestJson(**ASKED, uov_method="Vary (Subtle)", input_image=encoded)
    )
    assert fetched(only(made)["url"]) == ours(**ASKED, **varied)


def outpaint(api, star, encoded):
    asked = {"outpaint_selections": ["Left", "Top"], "outpaint_distance": [32, 32, 0, 0]}
    made = api.img_inpaint_or_outpaint_v1_generation_image_inpaint_outpaint_post(
        str(star),
        **FORM,
        outpaint_selections=["Left", "Top"],
        outpaint_distance_left=32,
        outpaint_distance_top=32,
    )
    assert fetched(only(made)["url"]) == ours(**FORM, **asked, inpaint_input_image=encoded)
    body = ImgInpaintOrOutpaintRequestJson.from_dict(
        {
            **ASKED,
            "input_image": encoded,
            "input_mask": "string",
            "outpaint_selections": ["Left", "Top"],
            "outpaint_distance_left": 32,
            "outpaint_distance_top": 32,
            "outpaint_distance_right": -1,
        }
    )
    made = api.img_inpaint_or_outpaint_v2_v2_generation_image_inpaint_outpaint_post(body)
    assert fetched(only(made)["url"]) == ours(**ASKED, **asked, inpaint_input_image=encoded)


def prompts(api, star, encoded):
    control = {"cn_img": encoded, "cn_type": "PyraCanny"}
    made = api.img_prompt_v1_generation_image_prompt_post(
        cn_img1=str(star), cn_type1="PyraCanny", **FORM
    )
    assert fetched(only(made)["url"]) == ours(**FORM, controlnet_image=[control])
    shown = {"debugging_cn_preprocessor": True}
    control |= {"cn_stop": 0.5, "cn_weight": 1.0}
    body = ImgPromptRequestJson.from_dict(
        {**ASKED, "image_prompts": [control], "advanced_params": shown}
    )
    made = api.img_prompt_v2_generation_image_prompt_post(body)
    assert fetched(only(made)["url"]) == ours(**ASKED, **shown, controlnet_image=[control])


def jobs(api):
    accepted = api.text2img_generation_v1_generation_text_to_image_post(
        Text2ImgRequest(**ASKED, async_process=True)
    ).actual_instance
    job_id = AsyncJobResponse.from_dict(accepted).job_id
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        job = api.query_job_v1_generation_query_job_get(job_id, require_step_preview=True)
        if job.job_stage.value not in ("WAITING", "RUNNING"):
            break
        time.sleep(0.05)
    assert (job.job_stage.value, job.job_progress) == ("SUCCESS", 100)
    (image,) = job.job_result.actual_instance
    assert fetched(image["url"]) == ours(**ASKED)
    queue = api.job_queue_v1_generation_job_queue_get()
    assert queue.running_size == 0
    assert queue.finished_size > 0
    answered = api.get_history_v1_generation_job_history_get(page=0, page_size=5).actual_instance
    history = JobHistoryResponse.from_dict(answered)
    assert len(history.history) == 5
    assert history.queue == []
    assert all(each.is_finished for each in history.history)
    with refused(404) as said:
        api.query_job_v1_generation_query_job_get("no-such-job")
    assert said[0]["job_status"] == "Job not found"
    assert api.stop_v1_generation_stop_post().msg == "success"


def small_calls(api, star):
    names = api.all_models_v1_engines_all_models_get()
    assert "embedded" in names.model_filenames
    assert api.refresh_models_v1_engines_refresh_models_post() == names
    assert "Fooocus V2" in api.all_styles_v1_engines_styles_get()
    assert api.ping_ping_get() == "pong"
    assert "<html" in api.home_get().lower()
    with refused(503) as said:
        api.describe_image_v1_tools_describe_image_post(str(star), type=DescribeImageType.PHOTO)
    assert "blip" in said[0]["detail"].lower()


def errors(api):
    with refused(404) as said:
        api.text2img_generation_v1_generation_text_to_image_post(
            Text2ImgRequest(**{**ASKED, "base_model_name": "no-such-model"})
        )
    assert "no-such-model" in said[0]["detail"]
    with refused(422) as said:
        api.text2img_generation_v1_generation_text_to_image_post(
            Text2ImgRequest(**ASKED, style_selections=["No such style"])
        )
    assert said[0]["detail"][0]["loc"] == ["body", "style_selections", 0]


FEW_STEPS_JSON = client.ImgInpaintOrOutpaintRequestJsonAdvancedParams.from_dict(FEW_STEPS)


def main():
    with (
        client.ApiClient(client.Configuration(host=URL)) as connection,
        tempfile.TemporaryDirectory() as folder,
    ):
        api = client.DefaultApi(connection)
        star = Path(folder) / "star.png"
        text(api, star)
        encoded = base64.b64encode(star.read_bytes()).decode()
        vary(api, star, encoded)
        outpaint(api, star, encoded)
        prompts(api, star, encoded)
        jobs(api)
        small_calls(api, star)
        errors(api)


if __name__ == "__main__":
    main()
