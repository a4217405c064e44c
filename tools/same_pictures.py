"""Are the embedded model's pictures the same bytes as those that another build made?

``python -m tools.same_pictures record FOLDER [--program OTHER/server.py]`` stores the picture files
of a fixed list of requests; ``python -m tools.same_pictures compare FOLDER`` makes them again and
prints a line a request. Exit status 1 if any file differs. Compare on the machine that recorded.
"""

import argparse
import hashlib
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

from tools.pictures_in.client import data_url
from tools.pictures_in.subjects import round_mask, subject
from tools.server_process import ROOT, ServerProcess, running_server

SEED: Final = 4711


def requests() -> dict[str, dict[str, Any]]:
    """Requests of every kind, by name; six steps where the step count does not matter."""
    first, second = subject(1), subject(2)
    picture, other = data_url(first.image), data_url(second.image)
    mask = data_url(round_mask(first.image.size))
    plain: dict[str, Any] = {"prompt": first.prompt, "image_seed": SEED, "overwrite_step": 6}

    def control(kind: str, **more: object) -> dict[str, Any]:
        return plain | {"controlnet_image": [{"cn_img": other, "cn_type": kind, **more}]}

    def stage(**more: object) -> dict[str, Any]:
        return plain | {"enhance_input_image": picture, "enhance_checkbox": True, **more}

    return {
        "plain": plain | {"overwrite_step": -1},
        "jpeg, a1111": plain | {"output_format": "jpg", "metadata_scheme": "a1111"},
        "webp, no metadata": plain | {"output_format": "webp", "save_metadata_to_images": False},
        "batch and grid": plain | {"image_number": 3, "generate_image_grid": True},
        "wide": plain | {"aspect_ratios_selection": "1344*768"},
        "enlarged": plain | {"overwrite_width": 640, "overwrite_height": 512},
        "styles": plain | {"style_selections": ["SAI Anime", "Fooocus V2"]},
        "wildcards, arrays, weights": plain
        | {"prompt": "a (__color__:1.3) [[star, circle]]", "image_number": 2},
        "two lines": plain | {"prompt": "a red star\non a blue background"},
        "lightning": plain | {"performance_selection": "Lightning"},
        "extreme speed": plain | {"performance_selection": "Extreme Speed"},
        "euler ancestral": plain | {"sampler_name": "euler_ancestral", "scheduler_name": "normal"},
        "restart": plain | {"sampler_name": "restart", "overwrite_step": 20},
        "uni_pc, freeu": plain | {"sampler_name": "uni_pc", "freeu_enabled": True},
        "guidance": plain | {"guidance_scale": 9.0, "adaptive_cfg": 4.0, "sharpness": 12.0},
        "refiner, joint": plain
        | {"refiner_model_name": "embedded", "refiner_swap_method": "joint"},
        "vary": plain | {"uov_input_image": picture, "uov_method": "Vary (Subtle)"},
        "upscale": plain | {"uov_input_image": picture, "uov_method": "Upscale (1.5x)"},
        "upscale fast": plain | {"uov_input_image": picture, "uov_method": "Upscale (Fast 2x)"},
        "inpaint": plain | {"inpaint_input_image": picture, "inpaint_mask_image_upload": mask},
        "outpaint": plain
        | {"inpaint_input_image": picture, "outpaint_selections": ["Left", "Top"]},
        "inpaint engine": plain
        | {
            "inpaint_input_image": picture,
            "inpaint_mask_image_upload": mask,
            "inpaint_engine": "v2.6",
        },
        "image prompt": control("ImagePrompt", cn_weight=0.9),
        "canny": control("PyraCanny"),
        "cpds": control("CPDS", cn_stop=0.7),
        "debug hint": control("PyraCanny") | {"debugging_cn_preprocessor": True},
        "enhance": stage(enhance_uov_method="Vary (Strong)"),
    }


def picture_files(server: ServerProcess, params: dict[str, Any]) -> list[bytes]:
    """The files that the request makes. Raises urllib.error.URLError."""
    record = server.post("/v1/engine/generate/", params, timeout=600)
    files = []
    for url in record["result"]:
        with urllib.request.urlopen(url, timeout=60) as reply:  # noqa: S310
            files.append(reply.read())
    return files


def main() -> int:
    """Record or compare; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--program", type=Path, default=ROOT / "server.py")
    parser.add_argument("--only", default="", help="requests whose name contains this")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    index_file = asked.folder / "index.json"
    index = json.loads(index_file.read_text()) if index_file.exists() else {}
    different = 0
    # Pictures that are made together differ by rounding. (Older builds do not know the option.)
    one_by_one = ["--batch", "off"] if asked.action == "compare" else []
    options = ["--preset", "embedded", *one_by_one]
    with running_server(options, program=asked.program) as server:
        for name, params in requests().items():
            if asked.only not in name:
                continue
            files = picture_files(server, params)
            made = [hashlib.sha256(each).hexdigest() for each in files]
            if asked.action == "record":
                index[name] = made
                for digest, data in zip(made, files, strict=True):
                    (asked.folder / f"{digest}.bin").write_bytes(data)
                print(f"{name:28} {len(made)} recorded", flush=True)
                continue
            same = made == index.get(name)
            different += not same
            print(f"{name:28} {len(made)} {'the same' if same else 'DIFFERENT'}", flush=True)
    if asked.action == "record":
        index_file.write_text(json.dumps(index, indent=1))
    return min(different, 1)


if __name__ == "__main__":
    sys.exit(main())
