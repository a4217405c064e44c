"""aaa1111 against the server whose address is given: it checks the types of every reply."""

import sys

from aaa1111 import AAA1111

api = AAA1111(base_url=sys.argv[1])
told = (
    api.progress(),
    api.samplers(),
    api.upscalers(),
    api.latent_upscale_modes(),
    api.sd_models(),
    api.sd_vae(),
    api.hypernetworks(),
    api.face_restorers(),
    api.realesrgan_models(),
    api.prompt_styles(),
    api.embeddings(),
    api.memory(),
    api.scripts(),
    api.script_info(),
    api.loras(),
    api.get_options(),
)
assert all(each is not None for each in told)
for act in (api.interrupt, api.skip, api.refresh_checkpoints, api.refresh_loras):
    act()
small = {"prompt": "a star", "width": 256, "height": 256, "steps": 4, "seed": 7}
made = api.txt2img(small)
assert made.images[0].size == (256, 256)
assert len(api.img2img({**small, "init_images": [made.images[0]]}).images) == 1
