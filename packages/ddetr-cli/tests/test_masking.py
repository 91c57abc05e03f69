"""Secrets are starred out, whatever their key is called and wherever they stand."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
import yaml

from ddetr_cli.app import main
from ddetr_cli.masking import is_secret_name, masked, without_pairs, without_passwords
from ddetr_cli.passphrase import read_passphrase
from ddetr_cli.running import RunLog
from ddetr_cli.spec import (
    Experiment,
    SpecError,
    dotted,
    known_keys,
    load_tree,
    parse_spec,
    spec_yaml,
)
from ddetr_cli.terminal import RunConsole, StatusFile
from ddetr_data import ConvertConfig

SECRET = "sesame-7431"
NAMES = [
    "encryptionkey",
    "encyption_key",
    "encription_key",
    "ENCRYPTION-KEY",
    "encrypton_key",
    "token",
]
NAMES += [
    "wandb.api_key",
    "wandb.apikey",
    "hf_token",
    "password",
    "passwd",
    "secret",
    "key",
    "enc_key",
]
URLS = {
    f"s3://user:{SECRET}@bucket/a": "s3://user:***@bucket/a",
    f"http://u:{SECRET}@host:80/a?b=1": "http://u:***@host:80/a?b=1",
    f"https://{SECRET}@host/a": "https://***@host/a",
    f"https://host/a?X-Amz-Signature={SECRET}&b=1": "https://host/a?X-Amz-Signature=***&b=1",
    f"redis://:{SECRET}@h/0": "redis://:***@h/0",
    f"s3:/user:{SECRET}@bucket": "s3:/user:***@bucket",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["{}={}", "{}:{}", "+{}={}", "a={{{}: {}}}", "{}=[{}", "--{}={}"])
def test_a_mistyped_key_does_not_tell_its_value(name: str, form: str) -> None:
    """As an override of any form, right or wrong."""
    # fault 40
    override = form.format(name, SECRET)
    told = ""
    try:
        load_tree(Experiment, parse_spec("", "s.yaml"), [override])
    except SpecError as error:
        told = str(error)
    assert SECRET not in told


@pytest.mark.parametrize("name", NAMES)
def test_a_mistyped_key_of_a_file_does_not_tell_its_value(name: str) -> None:
    """At the top, in a block, in a list, and where the block should have been a number."""
    # fault 40
    for text in (
        f"{name}: {SECRET}",
        f"train: {{{name}: {SECRET}}}",
        f"train: {{num_epochs: {{{name}: {SECRET}}}}}",
        f"train: [{{{name}: {SECRET}}}]",
        f"{{{name}:{SECRET}}}",
        f"results_dir: a\nresults_dir: ${{{name}}}",
    ):
        with pytest.raises(SpecError) as caught:
            load_tree(Experiment, parse_spec(text, "s.yaml"), [])
        assert SECRET not in str(caught.value)


def test_no_known_key_is_taken_for_a_secret() -> None:
    """But for the one that is; nor a class of a colour map."""
    keys = {dotted(path) for model in (Experiment, ConvertConfig) for path, _ in known_keys(model)}
    assert {key for key in keys if is_secret_name(key)} == {"encryption_key"}
    with pytest.raises(SpecError, match="red"):
        load_tree(Experiment, parse_spec("inference: {color_map: {token: {red: 1}}}", "s.yaml"), [])


@pytest.mark.parametrize(("url", "shown"), URLS.items())
def test_a_password_in_a_url_is_told_nowhere(
    url: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In console, status, log, traceback and the written spec."""
    # fault 40
    assert without_passwords(f"{url} cannot be read") == f"{shown} cannot be read"
    console = RunConsole()
    for say in (console.say, console.notice, console.fail, console.show_traceback):
        say(f"about {url}")
    console.table("t", ["url"], [(url,)])
    StatusFile(tmp_path).write("RUNNING", f"about {url}")
    with RunLog(lambda text: None, None) as log:
        log.open(tmp_path / "run.log")
        log.keep_traceback(ValueError(url))
    said = capsys.readouterr()
    files = [path.read_text() for path in tmp_path.iterdir()]
    assert not [text for text in (said.out, said.err, *files) if SECRET in text]


def test_the_written_spec_has_no_password_and_says_so_when_it_is_read() -> None:
    """experiment.yaml loads to what it says, which is no password."""
    # fault 40
    sources = "dataset: {{test_data_sources: {{image_dir: '{}', json_file: a.json}}}}"
    tree = parse_spec(sources.format(f"s3://user:{SECRET}@bucket/a"), "s.yaml")
    text = spec_yaml(load_tree(Experiment, tree).spec)
    assert SECRET not in text
    assert yaml.safe_load(text)["dataset"]["test_data_sources"][0]["image_dir"].startswith("s3://")
    with pytest.raises(SpecError, match=r"image_dir holds \*\*\* for a password"):
        load_tree(Experiment, parse_spec(text, "experiment.yaml"))


def test_a_long_text_without_secrets_takes_no_time() -> None:
    """The search is linear in the text."""
    for text in ("1" * 200_000, "a." * 100_000, "a:" * 50_000, "://" * 50_000, "?a" * 50_000):
        without_pairs(text)
        masked(text, ["b" * 10])


def ran(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "argv", ["ddetr"])
    monkeypatch.setenv("DDETR_ENCRYPTION_KEY", "")
    path = tmp_path / "s.yaml"
    path.write_text("encryption_key: of the file\n")
    return path


@pytest.mark.parametrize(
    "words", [["-k", SECRET], [f"-k{SECRET}"], ["--key", SECRET], [f"--key={SECRET}"]]
)
def test_a_key_on_the_command_line_works_and_is_told(
    words: list[str], spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It wins over the spec's, goes on by the environment, and a notice says what `ps` shows."""
    # fault 40
    assert ran("train", "-e", str(spec), *words) == 2
    said = capsys.readouterr()
    assert os.environ["DDETR_ENCRYPTION_KEY"] == SECRET
    assert "train_data_sources is not set" in said.err
    assert said.err.count("`ps` shows it") == 1
    assert SECRET not in said.out + said.err


def test_a_key_of_a_file_or_of_standard_input_is_told_to_nobody(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """-k @FILE reads its first line, -k - a line of standard input."""
    # fault 40
    (tmp_path / "key").write_text(f"{SECRET}\nmore\n")
    assert ran("train", "-e", str(spec), "-k", f"@{tmp_path / 'key'}") == 2
    assert os.environ["DDETR_ENCRYPTION_KEY"] == SECRET
    lines = io.TextIOWrapper(io.BytesIO(b"of the pipe\r\nmore"))
    monkeypatch.setattr(sys, "stdin", lines)
    assert ran("train", "-e", str(spec), "-k", "-") == 2
    assert os.environ["DDETR_ENCRYPTION_KEY"] == "of the pipe"
    assert "ps" not in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\n", b"a\0b\n", None])
def test_a_key_that_is_none_is_refused(
    content: bytes | None, spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty file, bytes that are no text, no file: one sentence, exit status 2."""
    # fault 41
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    assert ran("train", "-e", str(spec), "-k", f"@{path}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ddetr: ")
    assert "-k" in line


def test_a_key_of_bytes_that_are_no_text_is_refused() -> None:
    """The cipher takes UTF-8."""
    # fault 41
    with pytest.raises(ValueError, match="UTF-8"):
        read_passphrase("\udcff")
