"""Structs of the HTTP API, written from its OpenAPI document. Not to be edited.

In the server's repository, ``python -m tools.write_client`` writes this file.
"""

from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

# A URL, a path on the server, a data URL or base64; a file and its bytes are uploaded first.
ImageSource = str | bytes | Path


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a server answers. Fields that a newer server adds are ignored."""


class AllModels(Reply, frozen=True, kw_only=True):
    """Model files on disk now; the built-in model is "embedded"."""

    model_filenames: list[str]
    lora_filenames: list[str]


class Board(Reply, frozen=True, kw_only=True):
    """A board and how many tasks of the history are on it."""

    name: str
    tasks: int


class BoardList(Reply, frozen=True, kw_only=True):
    """Every board by name, each with the number of its tasks."""

    boards: list[Board]


class Card(Reply, frozen=True, kw_only=True):
    """One ended task, as small as a gallery needs it. ``images`` are paths on this server."""

    task_id: str
    status: str
    prompt: str
    model: str
    images: list[str]
    in_queue_mills: int | None
    finish_mills: int | None
    favourite: bool
    error: str | None = None
    picture: int | None = None


class ControlReply(Reply, frozen=True, kw_only=True):
    """What was done."""

    message: str


class Deleted(Reply, frozen=True, kw_only=True):
    """The task is out of the history; until this Unix time in ms it can be restored."""

    task_id: str
    until_mills: int


class Description(Reply, frozen=True, kw_only=True):
    """A prompt that describes the picture."""

    describe: str


class Hardware(Reply, frozen=True, kw_only=True):
    """What a device is. ``memory_bytes``: all of it, used or not."""

    description: str
    memory_bytes: int


class DeviceState(Reply, frozen=True, kw_only=True):
    """State of one device. ``error`` says why it failed; a failed device is tried again."""

    name: str
    state: str = "starting"
    error: str = ""
    hardware: Hardware | None = None


class DownloadView(Reply, frozen=True, kw_only=True):
    """A download as clients see it. ``error`` says why it failed."""

    folder: str
    name: str
    state: str
    # Bytes so far.
    received: int = 0
    # Bytes in all; 0 where the sender does not say.
    total: int = 0
    error: str = ""


class DownloadList(Reply, frozen=True, kw_only=True):
    """The downloads since the server's start."""

    downloads: list[DownloadView]


class FieldError(Reply, frozen=True, kw_only=True):
    """One wrong field: its location, what is wrong, and a name for the kind of error."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorBody(Reply, frozen=True, kw_only=True):
    """The body of every refused or failed request. ``code`` is stable."""

    detail: str | list[FieldError]
    code: str


class Grant(Reply, frozen=True, kw_only=True):
    """A session or signed token, with its expiry. ``expires`` is a Unix time in seconds."""

    expires: int
    token: str | None = None


class Grid(Reply, frozen=True, kw_only=True):
    """A grid's tasks, x fastest, then y, then z; and the labels of each axis."""

    task_ids: list[str]
    labels: list[list[str]]


class Health(Reply, frozen=True, kw_only=True):
    """How the server is.

    ``preset``: the start preset.      ``ready``: a device can make pictures, and they can be
    kept.
    """

    status: str
    ready: bool
    detail: str
    version: str
    preset: str
    devices: list[DeviceState]
    pending: int
    running: int
    uptime_seconds: float


class HistoryReply(Reply, frozen=True, kw_only=True):
    """A stretch of the chosen tasks or pictures; ``total`` counts all that are chosen."""

    total: int
    offset: int
    items: list[Card]


class ListedModel(Reply, frozen=True, kw_only=True):
    """A checkpoint as OpenAI's clients list models."""

    id: str
    object: str = "model"
    # Unix seconds of the file; 0 for the built-in one.
    created: int
    owned_by: str = "local"


class LoadedModel(Reply, frozen=True, kw_only=True):
    """A model on a device. ``seconds`` is how long it took to load."""

    kind: str
    name: str
    seconds: float
    since_mills: int
    device: str = ""


class Marked(Reply, frozen=True, kw_only=True):
    """Whether the task is a favourite now."""

    favourite: bool


class Memory(Reply, frozen=True, kw_only=True):
    """Main memory in bytes; 0 where the system does not say."""

    process: int
    available: int
    total: int


class ModelFile(Reply, frozen=True, kw_only=True):
    """A model by the name that requests use, with what its file says of its training."""

    name: str
    # Size on disk; 0 for a folder or the built-in model.
    bytes: int
    # The family that it was trained for, if its file says so.
    base_model: str = ""
    # File name of the checkpoint it began from.
    trained_on: str = ""
    # Width x height of training, in pixels.
    resolution: str = ""
    # Words that call up what was trained.
    trigger_words: list[str] = []
    # GET /v1/models/picture has it.
    has_picture: bool = False
    # What name.txt beside the file says.
    notes: str = ""
    # Of a checkpoint that a pipeline of diffusers runs, such as Sana.
    architecture: str = ""
    # Request fields that act with such a checkpoint; left out: all do.
    parameters: list[str] = []
    # Pixels: its sizes are whole multiples; left out: 8.
    grid: int = 0


class PresetInfo(Reply, frozen=True, kw_only=True):
    """A preset as a request would get it. ``problem`` says why it cannot be used, or is ""."""

    name: str
    note: str = ""
    is_initial: bool = False
    model_installed: bool = True
    # Request fields that the preset sets.
    parameters: dict[str, Any] = {}
    # Sizes to choose from, width*height; the model's own.
    sizes: list[str] = []
    problem: str = ""


class ModelOverview(Reply, frozen=True, kw_only=True):
    """What a request may name, and what is loaded now. The start preset comes first."""

    checkpoints: list[ModelFile]
    loras: list[ModelFile]
    vaes: list[ModelFile]
    embeddings: list[ModelFile]
    upscalers: list[ModelFile]
    styles: list[str]
    # Written in a prompt as `__name__`.
    wildcards: list[str]
    presets: list[PresetInfo]
    loaded: list[LoadedModel]
    memory: Memory
    object: str = "list"
    # The checkpoints once more, for OpenAI's clients.
    data: list[ListedModel]


class ModelSource(Reply, frozen=True, kw_only=True):
    """Whether a model file is here, and what a task that names it would fetch."""

    name: str
    installed: bool
    # Where it is fetched from; empty if installed.
    url: str = ""
    # Size of the download; 0 where nobody tells.
    bytes: int = 0
    # Whether this server fetches model files.
    allowed: bool = True


class PictureMetadata(Reply, frozen=True, kw_only=True):
    """What a picture says of its making; no scheme and no parameters if it says nothing known."""

    # How the text is written; null too for forms of other programs.
    scheme: str | None
    # A body for the generate endpoint that makes this picture again.
    parameters: dict[str, Any]
    # The text as it stands in the file; "" without one.
    text: str
    # Pixels, as stored.
    width: int
    # Pixels, as stored.
    height: int
    # png, jpeg, webp, bmp or gif.
    format: str
    # That wrote the text, where the text tells.
    program: str = ""
    # Its version, where the text tells.
    program_version: str = ""
    # What the text says and a request cannot, or not with this value.
    unread: list[str] = []


class PresetChanged(Reply, frozen=True, kw_only=True):
    """The preset that was saved, renamed or deleted, by its name now."""

    name: str


class RunningView(Reply, frozen=True, kw_only=True):
    """A task on a device, as of now."""

    task_id: str
    device: str
    progress: int
    message: str
    prompt: str
    image_number: int
    in_queue_mills: int
    start_mills: int
    # The newest preview as a data URL, or "".
    preview: str
    images: list[str]


class WaitingView(Reply, frozen=True, kw_only=True):
    """A waiting task; ``position`` counts the tasks that wait or run before it."""

    task_id: str
    position: int
    priority: int
    prompt: str
    image_number: int
    in_queue_mills: int


class QueueView(Reply, frozen=True, kw_only=True):
    """The queue as it stands, in the order it will run."""

    # As in ``queue.changed``.
    revision: int
    paused: bool
    # How many tasks may wait.
    limit: int
    running: list[RunningView]
    # How many tasks wait in all.
    waiting: int
    # A page of the waiting tasks.
    pending: list[WaitingView]
    # Of the waiting ``task_ids``.
    positions: dict[str, int]
    # As in ``GET /health``.
    devices: list[DeviceState]


class Restored(Reply, frozen=True, kw_only=True):
    """The task is back."""

    task_id: str


class StoredInput(Reply, frozen=True, kw_only=True):
    """A stored picture. The same bytes always have the same path."""

    # For any image field of a request.
    path: str
    # The path with this server's address.
    url: str
    # Pixels, as stored.
    width: int
    # Pixels, as stored.
    height: int
    # png, jpeg, webp, bmp or gif.
    format: str


class Summary(Reply, frozen=True, kw_only=True):
    """What the history holds: ended tasks by status and by model, and the favourites."""

    total: int
    favourites: int
    statuses: dict[str, int]
    models: dict[str, int]


class TaskLeft(Reply, frozen=True, kw_only=True):
    """A task that stays in the history because a file of it could not be removed."""

    task_id: str
    error: str


class TaskRecord(Reply, frozen=True, kw_only=True):
    """One task. Times are Unix ms; null means not yet, and of a running task -1 does."""

    id: int
    task_id: str
    req_params: dict[str, Any]
    in_queue_mills: int | None
    start_mills: int | None
    finish_mills: int | None
    task_status: str | None
    progress: float | int | None
    preview: str | None = None
    webhook_url: str
    result: list[str] | None
    error: str | None = None
    code: str | None = None
    notes: dict[str, Any] | None = None
    family: str | None = None
    key: str | None = None


class TasksReply(Reply, frozen=True, kw_only=True):
    """What was asked for; the lists that were not asked for are empty.

    After a deletion, ``history`` holds what is gone.

    ``left`` is there only if something stays.
    """

    history: list[TaskRecord]
    current: list[TaskRecord]
    pending: list[TaskRecord]
    left: list[TaskLeft] | None = None


class Unloaded(Reply, frozen=True, kw_only=True):
    """The models that were loaded until now; none where there was nothing to unload."""

    message: str
    models: list[str]


class WorkerInfo(Reply, frozen=True, kw_only=True):
    """A worker as operators see it. The counts are since the server's start."""

    id: str
    state: str
    error: str
    draining: bool
    node: str
    hardware: Hardware | None = None
    memory_bytes: int
    tasks: list[str]
    models: list[str]
    pictures: int
    failures: int


class WorkersView(Reply, frozen=True, kw_only=True):
    """All workers; those of a cluster come and go."""

    workers: list[WorkerInfo]


class Axis(TypedDict, total=False):
    """One axis of a grid: a field of the request and its values, in order.

    ``lora_weight`` sets the weight of every LoRA of the request; ``prompt_part`` replaces its first
    value, which the prompt must have, by each of the values..

    """

    # A request field, or as above.
    field: str
    values: list[str | int | float | list[str]]


class BoardChange(TypedDict, total=False):
    """What goes on a board and what is taken off it; a new name makes a new board."""

    # Name of the board.
    name: str
    add: list[str] | None
    remove: list[str] | None


class BoardNamed(TypedDict, total=False):
    """A board."""

    # Name of the board.
    name: str


class BoardRename(TypedDict, total=False):
    """A board's name and its new one."""

    # Name of the board.
    name: str
    # Name of the board.
    to: str


class ControlNetImage(TypedDict, total=False):
    """One image prompt. Left out, ``cn_stop`` and ``cn_weight`` follow ``cn_type``."""

    # The image, or "" for an empty slot.
    cn_img: ImageSource | None
    # Part of the steps after which it stops.
    cn_stop: float | None
    # Strength of the image prompt.
    cn_weight: float | None
    # What is taken from the image.
    cn_type: Literal["ImagePrompt", "FaceSwap", "PyraCanny", "CPDS"] | None


class DescribeImage(TypedDict, total=False):
    """Body of the describe tool."""

    # Data URL, base64, http(s) URL, own path, or "" for none.
    image: ImageSource | None
    # Photo: a sentence. Anime: tags, joined by commas.
    image_type: Literal["Photo", "Anime"] | None


class DownloadRequest(TypedDict, total=False):
    """A model file that a preset or the list of published files names."""

    # As requests name the file.
    name: str
    # Below the models folder.
    folder: str | None


class EnhanceControl(TypedDict, total=False):
    """One enhancement: find something in the picture and paint it again."""

    # Off: the slot does nothing.
    enhance_enabled: bool | None
    # What to look for.
    enhance_mask_dino_prompt: str | None
    # Prompt for that area; "": the main one.
    enhance_prompt: str | None
    # Negative prompt for that area; "": the main one.
    enhance_negative_prompt: str | None
    # Model that draws the mask.
    enhance_mask_model: (
        Literal[
            "u2net",
            "u2netp",
            "u2net_human_seg",
            "u2net_cloth_seg",
            "silueta",
            "isnet-general-use",
            "isnet-anime",
            "sam",
        ]
        | None
    )
    # Part of the clothes, for u2net_cloth_seg.
    enhance_mask_cloth_category: Literal["full", "upper", "lower"] | None
    # Size of the SAM model.
    enhance_mask_sam_model: Literal["vit_b", "vit_l", "vit_h"] | None
    # Least match of the words.
    enhance_mask_text_threshold: float | None
    # Least match of a box.
    enhance_mask_box_threshold: float | None
    # How many finds are used; 0 is all.
    enhance_mask_sam_max_detections: int | None
    # Begin from noise alone.
    enhance_inpaint_disable_initial_latent: bool | None
    # Inpaint model.
    enhance_inpaint_engine: Literal["None", "v1", "v2.5", "v2.6"] | None
    # Denoising strength.
    enhance_inpaint_strength: float | None
    # Surroundings shown to the model; 1 is the whole picture.
    enhance_inpaint_respective_field: float | None
    # Pixels to grow (or, below 0, shrink) the mask.
    enhance_inpaint_erode_or_dilate: int | None
    # Repaint all but the find.
    enhance_mask_invert: bool | None


class GenerateMask(TypedDict, total=False):
    """Body of the mask tool."""

    # Data URL, base64, http(s) URL, own path, or "" for none.
    image: ImageSource | None
    # Model that draws the mask.
    mask_model: (
        Literal[
            "u2net",
            "u2netp",
            "u2net_human_seg",
            "u2net_cloth_seg",
            "silueta",
            "isnet-general-use",
            "isnet-anime",
            "sam",
        ]
        | None
    )
    # Part of the clothes, for u2net_cloth_seg.
    cloth_category: Literal["full", "upper", "lower"] | None
    # What to look for, for sam.
    dino_prompt_text: str | None
    # Size of the SAM model.
    sam_model: Literal["vit_b", "vit_l", "vit_h"] | None
    # Least match of a box, for sam.
    box_threshold: float | None
    # Least match of one of the words, for sam.
    text_threshold: float | None
    # How many finds are used; 0 is all.
    sam_max_detections: int | None
    # Pixels to grow (or, below 0, shrink) the boxes.
    dino_erode_or_dilate: int | None
    # Return the boxes found, not what they hold.
    dino_debug: bool | None


class Lora(TypedDict, total=False):
    """One LoRA slot."""

    # Off: the slot does nothing.
    enabled: bool | None
    # A listed LoRA file, or "None".
    model_name: str | None
    # Strength of the LoRA.
    weight: float | None


class GenerateRequest(TypedDict, total=False):
    """Body of the generate endpoint.

    What is left out (or null) is the preset's, else x-default.
    """

    # What to draw; further lines are extra prompts.
    prompt: str | None
    # What to keep out of the picture.
    negative_prompt: str | None
    # Styles by name; see /v1/engines/styles.
    style_selections: list[str] | None
    # What "Fooocus V2" made of the prompt earlier; else it is made anew.
    prompt_expansion: str | None
    # Quality: 60 steps, Speed 30; with a LoRA of their own Extreme Speed 8, Lightning 4, Hyper-
    # SD 4.
    performance_selection: (
        Literal["Quality", "Speed", "Extreme Speed", "Lightning", "Hyper-SD"] | None
    )
    # Width*height in pixels, with a *, x or multiplication sign between.
    aspect_ratios_selection: str | None
    # Pictures to make.
    image_number: int | None
    # File format of the results.
    output_format: Literal["png", "jpg", "jpeg", "webp"] | None
    # Seed of the first picture; -1 draws one.
    image_seed: int | None
    # Take wildcard lines in turn, not at random.
    read_wildcards_in_order: bool | None
    # Detail of the guidance.
    sharpness: float | None
    # Weight of the prompt.
    guidance_scale: float | None
    # A listed checkpoint, or "None".
    base_model_name: str | None
    # A second checkpoint, or "None".
    refiner_model_name: str | None
    # Part of the steps done before the refiner.
    refiner_switch: float | None
    # LoRA slots; five take effect.
    loras: list[Lora] | None
    # Accepted; whether images are given decides.
    input_image_checkbox: bool | None
    # Accepted; the images given decide.
    current_tab: str | None
    # Vary or upscale the input picture.
    uov_method: (
        Literal[
            "Disabled",
            "Vary (Subtle)",
            "Vary (Strong)",
            "Upscale (1.5x)",
            "Upscale (2x)",
            "Upscale (Fast 2x)",
            "Upscale (Custom)",
        ]
        | None
    )
    # Factor of "Upscale (Custom)".
    upscale_multiple: float | None
    # A listed upscaler, or Fooocus's own; it enlarges by its factor first.
    upscale_model: str | None
    # Picture to vary or upscale.
    uov_input_image: ImageSource | None
    # Sides to paint beyond.
    outpaint_selections: list[Literal["Left", "Right", "Top", "Bottom"]] | None
    # Pixels to add left, top, right, bottom; 0 on a chosen side adds 30 %.
    outpaint_distance: list[int] | None
    # Picture to paint in.
    inpaint_input_image: ImageSource | None
    # White where to paint.
    inpaint_mask_image_upload: ImageSource | None
    # Put before the prompt when painting in.
    inpaint_additional_prompt: str | None
    # Send no previews.
    disable_preview: bool | None
    # Show results only at the end.
    disable_intermediate_results: bool | None
    # Every picture uses the same seed.
    disable_seed_increment: bool | None
    # Black out what a checker objects to.
    black_out_nsfw: bool | None
    # Factor on the size told with the prompt.
    adm_scaler_positive: float | None
    # Factor on the size told with the negative prompt.
    adm_scaler_negative: float | None
    # Part of the way after which sizes are told as they are.
    adm_scaler_end: float | None
    # Guidance above this fades towards it.
    adaptive_cfg: float | None
    # How far guidance is kept from raising contrast, for v-prediction models.
    guidance_rescale: float | None
    # CLIP layer, from the last.
    clip_skip: int | None
    # Sampler.
    sampler_name: (
        Literal[
            "euler",
            "euler_ancestral",
            "heun",
            "heunpp2",
            "dpm_2",
            "dpm_2_ancestral",
            "lms",
            "dpm_fast",
            "dpm_adaptive",
            "dpmpp_2s_ancestral",
            "dpmpp_sde",
            "dpmpp_sde_gpu",
            "dpmpp_2m",
            "dpmpp_2m_sde",
            "dpmpp_2m_sde_gpu",
            "dpmpp_3m_sde",
            "dpmpp_3m_sde_gpu",
            "ddpm",
            "lcm",
            "tcd",
            "restart",
            "ddim",
            "uni_pc",
            "uni_pc_bh2",
        ]
        | None
    )
    # Noise schedule.
    scheduler_name: (
        Literal[
            "normal",
            "karras",
            "exponential",
            "sgm_uniform",
            "simple",
            "ddim_uniform",
            "lcm",
            "turbo",
            "align_your_steps",
            "tcd",
            "edm_playground_v2.5",
        ]
        | None
    )
    # A listed VAE file, or the checkpoint's own.
    vae_name: str | None
    # Steps; -1 (or 0) leaves the mode's.
    overwrite_step: int | None
    # Step of the refiner; -1 (or 0) is off.
    overwrite_switch: int | None
    # Width from 64; -1 (or 0) is off.
    overwrite_width: int | None
    # Height from 64; -1 (or 0) is off.
    overwrite_height: int | None
    # Denoising of vary, 0-1; -1 is off.
    overwrite_vary_strength: float | None
    # Denoising of upscale, 0-1; -1 is off.
    overwrite_upscale_strength: float | None
    # Use image prompts while varying or upscaling.
    mixing_image_prompt_and_vary_upscale: bool | None
    # Use image prompts while painting in.
    mixing_image_prompt_and_inpaint: bool | None
    # Return what the image preprocessor makes.
    debugging_cn_preprocessor: bool | None
    # The images are preprocessed already.
    skipping_cn_preprocessor: bool | None
    # Weakest edge kept.
    canny_low_threshold: int | None
    # Edge that is certain.
    canny_high_threshold: int | None
    # How the refiner takes over.
    refiner_swap_method: Literal["joint", "separate", "vae"] | None
    # How much less the coarse layers are steered.
    controlnet_softness: float | None
    # Reweight the decoder (FreeU).
    freeu_enabled: bool | None
    # FreeU backbone, level 1.
    freeu_b1: float | None
    # FreeU backbone, level 2.
    freeu_b2: float | None
    # FreeU skip, level 1.
    freeu_s1: float | None
    # FreeU skip, level 2.
    freeu_s2: float | None
    # Return what the inpaint preprocessor makes.
    debugging_inpaint_preprocessor: bool | None
    # Begin from noise alone.
    inpaint_disable_initial_latent: bool | None
    # Inpaint model.
    inpaint_engine: Literal["None", "v1", "v2.5", "v2.6"] | None
    # Denoising when painting in.
    inpaint_strength: float | None
    # Surroundings shown to the model; 1 is the whole picture.
    inpaint_respective_field: float | None
    # Accepted; the mask given decides.
    inpaint_mask_upload_checkbox: bool | None
    # Accepted; the mask given decides.
    inpaint_advanced_masking_checkbox: bool | None
    # Paint where the mask is black.
    invert_mask_checkbox: bool | None
    # Pixels to grow (or, below 0, shrink) the mask.
    inpaint_erode_or_dilate: int | None
    # Write the parameters into the file.
    save_metadata_to_images: bool | None
    # JSON or A1111's plain text.
    metadata_scheme: Literal["fooocus", "a1111"] | None
    # Image prompts.
    controlnet_image: list[ControlNetImage] | None
    # Return the boxes found.
    debugging_dino: bool | None
    # Pixels to grow the boxes.
    dino_erode_or_dilate: int | None
    # Return the enhancement masks too.
    debugging_enhance_masks_checkbox: bool | None
    # Picture to enhance.
    enhance_input_image: ImageSource | None
    # Enhance the results.
    enhance_checkbox: bool | None
    # Vary or upscale while enhancing.
    enhance_uov_method: (
        Literal[
            "Disabled",
            "Vary (Subtle)",
            "Vary (Strong)",
            "Upscale (1.5x)",
            "Upscale (2x)",
            "Upscale (Fast 2x)",
            "Upscale (Custom)",
        ]
        | None
    )
    # When to vary or upscale.
    enhance_uov_processing_order: (
        Literal["Before First Enhancement", "After Last Enhancement"] | None
    )
    # Prompts used for it.
    enhance_uov_prompt_type: Literal["Original Prompts", "Last Filled Enhancement Prompts"] | None
    # Keep no picture from in between.
    save_final_enhanced_image_only: bool | None
    # Enhancements, in order.
    enhance_ctrls: list[EnhanceControl] | None
    # With two or more results, also their grid.
    generate_image_grid: bool | None
    # Where left-out values come from; "initial" is the server's own.
    preset: str | None
    # Results as data URLs.
    require_base64: bool | None
    # Where the finished record is posted.
    webhook_url: str | None


class GridRequest(TypedDict, total=False):
    """A request and the axes along which it varies."""

    # Fields of a generate request.
    parameters: dict[str, Any]
    # x, y and z.
    axes: list[Axis]


class GridSheet(TypedDict, total=False):
    """What a sheet shows: the reply that the grid was queued with, or labels of one's own."""

    task_ids: list[str]
    # Of x, y and z.
    labels: list[list[str]]


class PresetNamed(TypedDict, total=False):
    """A preset, by the name that requests use."""

    # Letters, digits, blanks and _ . + ( ) -.
    name: str


class PresetRename(TypedDict, total=False):
    """A preset's name and its new one."""

    # Letters, digits, blanks and _ . + ( ) -.
    name: str
    # Letters, digits, blanks and _ . + ( ) -.
    to: str


class PresetToSave(TypedDict, total=False):
    """A preset's name and the request fields that it sets; others are left out."""

    # Letters, digits, blanks and _ . + ( ) -.
    name: str
    # Fields of a generate request, as a record has them.
    parameters: dict[str, Any]
    # A line about the preset.
    note: str | None
    # Whether one of that name is written over.
    replace: bool | None


class ReadMetadata(TypedDict, total=False):
    """Body of the metadata tool."""

    # Data URL, base64, or a path or URL of this server's pictures.
    image: str | None


class ZipRequest(TypedDict, total=False):
    """Which pictures: all those of tasks, and single ones."""

    task_ids: list[str] | None
    # Paths such as /outputs/2026-11-23/name.png.
    pictures: list[str] | None
