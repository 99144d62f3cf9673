"""Finding a model: a local path never asks the network, a hub id asks the cache first."""

import socket
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest

import gpt2


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """No model of the machine's own cache helps a test along."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub_calls(monkeypatch):
    """The calls that reached the hub library, which then fails."""
    calls = []

    def fail(hub_id, **options):
        calls.append((hub_id, options))
        raise OSError("first line\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    return calls


def refused(name, **options):
    with pytest.raises(gpt2.CheckpointError) as caught:
        gpt2.resolve_model(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", [str, Path])
def test_a_local_directory_never_touches_the_hub(tiny_base, hub_calls, monkeypatch, form):
    monkeypatch.setattr(socket, "socket", None)
    assert gpt2.resolve_model(form(tiny_base)) == tiny_base
    gpt2.GPT2ForSequenceClassification.from_pretrained(form(tiny_base))
    gpt2.Tokenizer.from_pretrained(form(tiny_base))
    assert hub_calls == []


def test_a_relative_directory_that_looks_like_a_hub_id_is_local(tiny_base, hub_calls, monkeypatch):
    monkeypatch.chdir(tiny_base.parent.parent)
    name = f"{tiny_base.parent.name}/{tiny_base.name}"
    assert gpt2.resolve_model(name) == Path(name)
    assert hub_calls == []


@pytest.mark.parametrize(
    "name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "nowhere", "a/b/c", Path("runs/base"), ""]
)
def test_a_local_path_that_is_not_there_says_so_without_asking_the_hub(name, hub_calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused(name)
    assert "config.json" in message and "model.safetensors" in message
    assert hub_calls == []


def test_a_directory_without_a_config_says_so(tmp_path, hub_calls, monkeypatch):
    (tmp_path / "runs" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path / "runs" / "base", "runs/base"):
        assert "has no config.json" in refused(name)
    assert hub_calls == []


@pytest.mark.parametrize("name", ["gpt2", "openai-community/gpt2"])
def test_without_a_network_one_line_names_the_files_and_the_way_out(name):
    message = refused(name)
    assert "openai-community/gpt2" in message and "--model DIRECTORY" in message
    for file in ("config.json", "model.safetensors", "vocab.json", "merges.txt"):
        assert file in message


def test_the_hubs_reason_is_cut_to_its_first_line(hub_calls):
    message = refused("somebody/something")
    assert "first line" in message and "second line" not in message


def test_without_leave_to_download_only_the_cache_is_asked(hub_calls):
    message = refused("gpt2", download=False)
    assert "not in the local cache" in message
    assert [options["local_files_only"] for _, options in hub_calls] == [True]


def test_a_model_in_the_cache_is_used_without_a_network(tiny_base, empty_cache):
    repo = empty_cache / "models--openai-community--gpt2"
    commit = "0123456789012345678901234567890123456789"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in tiny_base.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    assert gpt2.resolve_model("gpt2").resolve() == snapshot.resolve()
    (snapshot / "merges.txt").unlink()  # half a download is no model
    assert "openai-community/gpt2" in refused("gpt2")


def test_only_the_four_plain_files_are_fetched(hub_calls):
    refused("gpt2-medium")
    for hub_id, options in hub_calls:
        assert hub_id == "openai-community/gpt2-medium"
        assert sorted(options["allow_patterns"]) == ["config.json", "merges.txt", "model.safetensors", "vocab.json"]
