"""Every start option, in one place: flags, environment, ``focal.toml``, ``--help`` and the docs."""

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

ENV_PREFIX = "FOCAL_"
DEFAULT_FILE = "focal.toml"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one server.

    A field's name is its key in ``focal.toml``, with dashes its flag (a bool has ``--no-…`` too),
    in capitals after ``FOCAL_`` its environment variable.
    """

    host: Annotated[
        str,
        Meta(
            description="Address to listen on; several with commas, as `0.0.0.0,::`.",
            pattern=r"[^\s,]",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(description="Port to listen on; 0 takes a free one.", ge=0, le=65535)
    ] = 7866
    outputs_dir: Annotated[
        Path, Meta(description="Where pictures and the history database are kept.")
    ] = Path("outputs")
    outputs_roots: Annotated[
        tuple[Path, ...],
        Meta(
            description="Another folder that a day's folder in --outputs-dir may be a link into;"
            " repeatable."
        ),
    ] = ()
    inputs_dir: Annotated[Path, Meta(description="Where uploaded pictures are kept.")] = Path(
        "inputs"
    )
    models_dir: Annotated[
        Path, Meta(description="Where model files are looked for, in Fooocus's sub-folders.")
    ] = Path("models")
    downloads: Annotated[
        Literal["allow", "forbid"],
        Meta(
            description="May a model file that is missing, and known by name, be fetched? See"
            " docs/models.md."
        ),
    ] = "allow"
    device_memory_gb: Annotated[
        float,
        Meta(
            description="GiB of the device that loaded models may take; 0 leaves 3 GiB for"
            " pictures (on CPU and MPS: takes 60 % of main memory).",
            ge=0,
        ),
    ] = 0
    ram_gb: Annotated[
        float,
        Meta(
            description="GiB of main memory that models may take while they are off the device; 0"
            " takes half (on CPU and MPS: as --device-memory-gb).",
            ge=0,
        ),
    ] = 0
    preset: Annotated[
        str,
        Meta(
            description="Start preset; by default `default` when its checkpoint is installed,"
            " else `embedded`."
        ),
    ] = ""
    device: Annotated[
        str,
        Meta(
            description="`auto`, `cpu`, `mps`, `cuda`, `cuda:1`; several, with commas, share one"
            " queue.",
            min_length=1,
        ),
    ] = "auto"
    workers: Annotated[
        str,
        Meta(
            description="What makes the pictures: `local`, this process on --device; `ray`, workers"
            " of a Ray that is started here; `auto` or `ray://HOST:PORT`, workers of the Ray"
            " cluster with that head, which this machine has joined (see docs/scale.md). Beside"
            " Ray's workers, those of --device work if it is given.",
            pattern=r"^(local|ray|auto|(ray://)?[^\s/]+:[0-9]+|ray://[^\s/]+)$",
        ),
    ] = "local"
    ray_gpus: Annotated[
        str,
        Meta(
            description="Ray's workers with a GPU each, at most; `auto`: all GPUs of the cluster,"
            " also of machines that join later. `0`, or no GPU anywhere: workers on CPUs.",
            pattern="^(auto|[0-9]{1,4})$",
        ),
    ] = "auto"
    ray_cpus_per_worker: Annotated[
        int,
        Meta(
            description="CPU cores of each of Ray's workers, and threads of its arithmetic; 0: all"
            " of a machine's, or a GPU's share of them.",
            ge=0,
            le=1024,
        ),
    ] = 0
    ray_models_url: Annotated[
        str,
        Meta(
            description="This server's address, from where Ray's workers fetch model files that"
            " their machine lacks; empty: all machines see the models folder. With keys, --api-key"
            " is what they send.",
            pattern=r"^(https?://[^\s?#@]+)?$",
        ),
    ] = ""
    cpu_noise: Annotated[
        bool,
        Meta(
            description="Draw all noise on the CPU, so that a seed gives the same picture on every"
            " device, but for rounding."
        ),
    ] = False
    compile: Annotated[
        bool,
        Meta(
            description="Compile the network (torch.compile, a C++ compiler on the CPU): the first"
            " picture of each size takes minutes longer, all others less."
        ),
    ] = False
    batch: Annotated[
        str,
        Meta(
            description="Pictures made in one run, of one task or of several waiting ones that"
            " differ in prompts and seeds alone: at most so many, `auto` (as many as the device"
            " gains from) or `off`. A picture differs by rounding from the one made alone.",
            pattern="^(auto|off|[1-9][0-9]?)$",
        ),
    ] = "auto"
    cpu_engine: Annotated[
        Literal["auto", "torch", "openvino"],
        Meta(
            description="What runs the networks on a CPU. `auto`: OpenVINO where it is installed"
            " (requirements-openvino.txt), after the first picture of a model and size."
        ),
    ] = "auto"
    precision: Annotated[
        Literal["exact", "fast"],
        Meta(
            description="Of OpenVINO: `exact` differs from torch by rounding alone (80 dB at"
            " least), `fast` works in bfloat16 where the processor has it (about 50 dB)."
        ),
    ] = "exact"
    api_key: Annotated[
        str, Meta(description="When set, requests must carry it (see docs/api.md).")
    ] = ""
    api_key_file: Annotated[
        str,
        Meta(
            description="A file of several named keys, hashed, each with limits (see"
            " docs/configuration.md)."
        ),
    ] = ""
    base_url: Annotated[
        str,
        Meta(
            description="How clients reach this server, for the URLs in replies; by default the"
            " request's Host.",
            pattern=r"^(https?://[^\s?#]+)?$",
        ),
    ] = ""
    apis: Annotated[
        str,
        Meta(
            description="Other servers' APIs to serve beside our own: `all`, `none`, or names with"
            " commas (see the README).",
            pattern=r"[^\s,]",
        ),
    ] = "all"
    queue_size: Annotated[
        int, Meta(description="Tasks that may wait; more are answered 429.", ge=1, le=100_000)
    ] = 100
    body_limit_mb: Annotated[
        int, Meta(description="Largest request body in MB; more is answered 413.", ge=1, le=4096)
    ] = 64
    webhook_url: Annotated[
        str,
        Meta(
            description="Webhook of the tasks that name none themselves.",
            pattern=r"^(https?://\S+)?$",
        ),
    ] = ""
    webhook_secret: Annotated[
        str, Meta(description="Signs webhooks (Standard Webhooks headers) when set.")
    ] = ""
    allow_origin: Annotated[
        tuple[str, ...],
        Meta(
            description="A web origin that may use the API, as `https://app.example`; repeatable."
        ),
    ] = ()
    allow_private_urls: Annotated[
        bool, Meta(description="Let webhooks and image URLs reach private and loopback addresses.")
    ] = False
    on_restart: Annotated[
        Literal["requeue", "fail"],
        Meta(
            description="What happens at the next start to tasks that a stop or crash left"
            " unfinished."
        ),
    ] = "requeue"
    idle_unload_minutes: Annotated[
        float,
        Meta(
            description="Minutes without a task after which the models are unloaded; 0: never.",
            ge=0,
            le=525_600,
        ),
    ] = 0
    keep_days: Annotated[
        float,
        Meta(
            description="Delete ended tasks and their pictures after so many days; 0 keeps them."
            " Favourites stay.",
            ge=0,
            le=36_500,
        ),
    ] = 0
    keep_tasks: Annotated[
        int,
        Meta(
            description="Delete the oldest ended tasks beyond so many; 0 keeps them."
            " Favourites stay.",
            ge=0,
            le=10**9,
        ),
    ] = 0
    keep_gb: Annotated[
        float,
        Meta(
            description="Delete the oldest ended tasks while all pictures take more; 0 keeps them."
            " Favourites stay.",
            ge=0,
            le=10**6,
        ),
    ] = 0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="How much is logged; prompts only at `debug`."),
    ] = "info"


class SettingsError(Exception):
    """An unknown option or a wrong value; the message says which, and where it was given."""


def load_settings(
    argv: Sequence[str], environment: Mapping[str, str], folder: Path = Path()
) -> Settings:
    """Merge flag over environment over ``focal.toml`` over default.

    Raises SettingsError. ``--help`` and unknown flags end the process as argparse does.
    """
    flags = vars(_parser().parse_args(argv))
    named = flags.pop("config", None)
    config = Path(named) if named else folder / DEFAULT_FILE
    sources = [
        (str(config), _file_values(config, required=named is not None)),
        ("the environment", _environment_values(environment)),
        ("the command line", flags),
    ]
    merged: dict[str, Any] = {}
    for source, values in sources:
        for name, value in values.items():
            merged[name] = _checked(source, name, value)
    return Settings(**merged)


def options_table() -> str:
    """All options as a Markdown table, for docs/configuration.md."""
    rows = ["| flag | environment | focal.toml | default | meaning |", "|---|---|---|---|---|"]
    for name, (kind, description) in _fields().items():
        default = _shown(getattr(Settings(), name))
        values = f" One of {', '.join(f'`{v}`' for v in get_args(kind))}." if _choices(kind) else ""
        rows.append(
            f"| `{_flag(name)}` | `{ENV_PREFIX}{name.upper()}` | `{name}` | {default} |"
            f" {description}{values} |"
        )
    return "\n".join(rows)


def _fields() -> dict[str, tuple[Any, str]]:
    fields: dict[str, tuple[Any, str]] = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        kind, meta = get_args(hint)
        fields[name] = (kind, meta.description)
    return fields


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _choices(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _item_name(kind: Any) -> str:
    """What ``--help`` calls one item of a repeatable option."""
    return "FOLDER" if get_args(kind)[0] is Path else "ORIGIN"


def _shown(value: object) -> str:
    if value in {"", ()}:
        return "(none)"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="server.py",
        description="Focal, an image-generation server.",
        epilog=f"Each option is also an environment variable ({ENV_PREFIX}PORT=8000) and a key of"
        f" {DEFAULT_FILE} (port = 8000); a flag wins over the environment, that over the file.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, (kind, description) in _fields().items():
        default = _shown(getattr(Settings(), name)).strip("`")
        text = f"{description} [{default}]".replace("`", "").replace("%", "%%")
        if kind is bool:
            parser.add_argument(_flag(name), action=argparse.BooleanOptionalAction, help=text)
        elif get_origin(kind) is tuple:
            parser.add_argument(_flag(name), action="append", metavar=_item_name(kind), help=text)
        else:
            choices = get_args(kind) if _choices(kind) else None
            metavar = None if choices else name.upper()
            parser.add_argument(_flag(name), choices=choices, metavar=metavar, help=text)
    parser.add_argument(
        "--config", metavar="FILE", help=f"Read options from FILE instead of ./{DEFAULT_FILE}."
    )
    return parser


def _file_values(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.exists():
        if required:
            raise SettingsError(f"{path}: there is no such file")
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from error
    _refuse_unknown(str(path), values)
    return values


def _environment_values(environment: Mapping[str, str]) -> dict[str, Any]:
    prefixed = {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENV_PREFIX)
    }
    _refuse_unknown("the environment", prefixed)
    return prefixed


def _refuse_unknown(source: str, values: Mapping[str, Any]) -> None:
    if unknown := sorted(set(values) - set(_fields())):
        known = ", ".join(_fields())
        raise SettingsError(f"{source}: unknown option {unknown[0]!r}; known are {known}")


def _checked(source: str, name: str, value: Any) -> Any:
    hint = get_type_hints(Settings, include_extras=True)[name]
    if get_origin(_fields()[name][0]) is tuple and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, hint, strict=False, dec_hook=_decode_path)
    except (msgspec.ValidationError, ValueError) as error:
        shown = "" if "secret" in name or "key" in name else f" {value!r}"
        raise SettingsError(f"{source}: {name.replace('_', '-')}{shown}: {error}") from error


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("expected a path")
