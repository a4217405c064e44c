"""Start options: precedence, clear refusals, and one list for help and docs."""

from pathlib import Path

import pytest

from settings import Settings, SettingsError, load_settings, options_table

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "focal.toml").write_text('port = 1\nhost = "file"\npreset = "file"\n')
    environment = {"FOCAL_PORT": "2", "FOCAL_HOST": "environment"}
    settings = load_settings(["--port", "3"], environment, tmp_path)
    assert (settings.port, settings.host, settings.preset) == (3, "environment", "file")


def test_without_any_source_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings([], {"PATH": "/bin"}, tmp_path) == Settings()


SWITCHES = [n for n in Settings.__struct_fields__ if isinstance(getattr(Settings(), n), bool)]


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", [True, False])
def test_a_switch_is_turned_on_and_off_at_each_level_over_the_ones_below(
    tmp_path: Path, name: str, value: bool
) -> None:
    def read(*, flag: bool | None = None, environment: str = "", file: bool | None = None) -> bool:
        lines = "" if file is None else f"{name} = {str(file).lower()}\n"
        (tmp_path / "focal.toml").write_text(lines)
        dashed = name.replace("_", "-")
        argv = [] if flag is None else [f"--{dashed}" if flag else f"--no-{dashed}"]
        set_ = {f"FOCAL_{name.upper()}": environment} if environment else {}
        return bool(getattr(load_settings(argv, set_, tmp_path), name))

    words = ("1", "true", "True") if value else ("0", "false", "FALSE")
    assert read(file=value) is value
    assert [read(environment=word, file=not value) for word in words] == [value] * 3
    assert read(flag=value, environment="0" if value else "1", file=not value) is value


@pytest.mark.parametrize(
    ("argv", "environment", "file", "message"),
    [
        (["--port", "x"], {}, "", "the command line: port 'x'"),
        (["--queue-size", "0"], {}, "", "queue-size '0'"),
        ([], {"FOCAL_PORT": "99999"}, "", "the environment: port '99999'"),
        ([], {"FOCAL_PROT": "1"}, "", "unknown option 'prot'; known are host"),
        ([], {"FOCAL_ALLOW_PRIVATE_URLS": "maybe"}, "", "allow-private-urls 'maybe'"),
        ([], {}, "prot = 1", "focal.toml: unknown option 'prot'"),
        ([], {}, "port = [", "focal.toml: "),
        ([], {}, "on_restart = 'forget'", "on-restart 'forget'"),
        ([], {"FOCAL_BASE_URL": "ftp://x"}, "", "base-url 'ftp://x'"),
        (["--config", "missing.toml"], {}, "", "missing.toml: there is no such file"),
    ],
)
def test_a_wrong_or_unknown_option_is_named_with_its_source(
    tmp_path: Path, argv: list[str], environment: dict[str, str], file: str, message: str
) -> None:
    if file:
        (tmp_path / "focal.toml").write_text(file)
    with pytest.raises(SettingsError) as caught:
        load_settings(argv, environment, tmp_path)
    assert message in str(caught.value)


def test_a_secret_never_stands_in_an_error(tmp_path: Path) -> None:
    (tmp_path / "focal.toml").write_text('api_key = ["hush"]')
    with pytest.raises(SettingsError) as caught:
        load_settings([], {}, tmp_path)
    assert "hush" not in str(caught.value)


def test_an_unknown_flag_ends_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_settings(["--prot", "1"], {})
    assert "--prot" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["https://a.example,https://b.example", "https://a.example"])
def test_origins_are_a_list_in_every_source(tmp_path: Path, value: str) -> None:
    origins = tuple(value.split(","))
    flags = [part for origin in origins for part in ("--allow-origin", origin)]
    assert load_settings(flags, {}, tmp_path).allow_origin == origins
    assert load_settings([], {"FOCAL_ALLOW_ORIGIN": value}, tmp_path).allow_origin == origins


def test_the_docs_hold_the_same_table_as_the_code() -> None:
    assert options_table() in DOCS.read_text(encoding="utf-8"), "run: python -m tools.write_docs"
