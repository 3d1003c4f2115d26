"""The hub as its clients see it: starts `wen serve` as a hub and uses it with `huggingface_hub`, `transformers` and
`modelscope`, those of them that are installed.

    python tests/sdk/hub_sdk.py --wen target/debug/wen

Every check has a repository of its own. Prints a line for each; the exit status is 1 if one failed.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import urllib.error
import urllib.request

KEY = "sk-for-this-test"
FIXTURE = pathlib.Path(__file__).resolve().parents[1] / "data" / "parity" / "qwen3-tied"
SMALL = b'{"model_type": "toy"}\n'
# beyond what clients send in one piece, and different in every run
LARGE = os.urandom(1 << 16) + bytes(range(256)) * 20_000
CHECKS = []


def check(*packages):
    """Registers a check that needs these packages."""

    def register(function):
        CHECKS.append((function, packages))
        return function

    return register


def installed(package):
    import importlib.util

    return importlib.util.find_spec(package) is not None


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def folder(files):
    """A directory with these files."""
    root = pathlib.Path(tempfile.mkdtemp())
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def contents(root):
    """What is in a directory, without what clients leave there."""
    root = pathlib.Path(root)
    paths = (path for path in root.rglob("*") if path.is_file())
    named = ((path.relative_to(root), path) for path in paths)
    ours = {str(name): path.read_bytes() for name, path in named if not any(p.startswith(".") for p in name.parts)}
    return {name: content for name, content in ours.items() if name != "configuration.json"}


CARD = b"---\nlicense: apache-2.0\ntags: [toy]\n---\n# Toy\n"
FILES = {"README.md": CARD, "config.json": SMALL, "sub dir/file.txt": b"text\n", "empty": b"", "model.safetensors": LARGE}


def hugging_face(token=KEY):
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ["HF_ENDPOINT"], token=token)


def filled(name, **settings):
    """A repository with FILES, and the commit that made it so."""
    api = hugging_face()
    api.create_repo(name, **settings)
    return api, api.upload_folder(repo_id=name, folder_path=folder(FILES), commit_message="first")


@check("huggingface_hub")
def the_caller_has_a_name():
    assert hugging_face().whoami()["name"] == "wen"
    # older versions raise what `requests` does
    assert raises(Exception, lambda: hugging_face("hf_wrong").whoami()).response.status_code == 401


@check("huggingface_hub", "hf_xet")
def clients_that_have_xet_need_no_setting():
    """They look at the setting when they start."""
    from huggingface_hub import snapshot_download

    api = hugging_face()
    api.create_repo("wen/xet")
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_XET"}
    script = """if True:
        import os, sys
        from huggingface_hub import HfApi, constants
        assert not constants.HF_HUB_DISABLE_XET
        HfApi().upload_folder(repo_id="wen/xet", folder_path=sys.argv[1], commit_message=sys.argv[2])
        """
    noise = os.urandom(3 << 20)
    floats = bytes(b"\x00\x01\x80\x3f" * (1 << 19))
    first = {"config.json": SMALL, "a.safetensors": LARGE, "same.safetensors": LARGE, "floats.safetensors": floats}
    # what stays of a file is known to the client, and not to the service, which keeps files only
    second = {**first, "a.safetensors": LARGE[: 4 << 20] + noise, "more.safetensors": noise + floats}
    for message, files in [("first", first), ("second", second)]:
        command = [sys.executable, "-c", script, str(folder(files)), message]
        subprocess.run(command, env={**environment, "HF_TOKEN": KEY}, check=True)
        assert contents(snapshot_download("wen/xet", local_dir=tempfile.mkdtemp())) == files, message


@check("huggingface_hub")
def a_repository_comes_and_goes():
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    api = hugging_face()
    assert "wen/made" in str(api.create_repo("wen/made"))
    assert raises(HfHubHTTPError, lambda: api.create_repo("wen/made")).response.status_code == 409
    assert "wen/made" in str(api.create_repo("wen/made", exist_ok=True))
    assert api.model_info("wen/made").private and api.repo_exists("wen/made")
    api.delete_repo("wen/made")
    raises(RepositoryNotFoundError, lambda: api.model_info("wen/made"))
    api.delete_repo("wen/made", missing_ok=True)


@check("huggingface_hub")
def a_folder_goes_up_and_comes_down():
    from huggingface_hub import snapshot_download

    api, commit = filled("wen/folder")
    info = api.model_info("wen/folder", files_metadata=True)
    assert info.sha == commit.oid and info.card_data.license == "apache-2.0" and "toy" in info.tags
    files = {file.rfilename: file for file in info.siblings}
    assert files["model.safetensors"].lfs.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert files["model.safetensors"].size == len(LARGE)
    assert files["config.json"].blob_id == hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
    cache = tempfile.mkdtemp()
    path = snapshot_download("wen/folder", cache_dir=cache)
    assert path.endswith(commit.oid) and contents(path) == FILES
    assert snapshot_download("wen/folder", cache_dir=cache, local_files_only=True) == path
    only = snapshot_download("wen/folder", allow_patterns=["*.json"], local_dir=tempfile.mkdtemp())
    assert contents(only) == {"config.json": SMALL}
    again = api.upload_folder(repo_id="wen/folder", folder_path=folder(FILES))
    assert again.oid == commit.oid, "nothing has changed"


@check("huggingface_hub")
def files_are_found_by_path():
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    api, commit = filled("wen/paths")
    path = hf_hub_download("wen/paths", "sub dir/file.txt", cache_dir=tempfile.mkdtemp())
    assert pathlib.Path(path).read_bytes() == b"text\n"
    url = hf_hub_url("wen/paths", "model.safetensors", endpoint=os.environ["HF_ENDPOINT"])
    seen = get_hf_file_metadata(url, token=KEY)
    assert (seen.commit_hash, seen.size) == (commit.oid, len(LARGE))
    assert seen.etag == hashlib.sha256(LARGE).hexdigest()
    assert api.file_exists("wen/paths", "config.json") and not api.file_exists("wen/paths", "none")
    tree = {entry.path: entry for entry in api.list_repo_tree("wen/paths", recursive=True)}
    assert set(tree) == {*FILES, "sub dir"} and not hasattr(tree["sub dir"], "size")
    found = api.get_paths_info("wen/paths", ["sub dir/file.txt", "sub dir", "none"])
    assert {entry.path for entry in found} == {"sub dir", "sub dir/file.txt"}


@check("huggingface_hub")
def an_interrupted_download_goes_on():
    from huggingface_hub import hf_hub_url

    filled("wen/resumed")
    url = hf_hub_url("wen/resumed", "model.safetensors", endpoint=os.environ["HF_ENDPOINT"])
    headers = {"Authorization": f"Bearer {KEY}", "Range": "bytes=1000-"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        assert answer.status == 206 and answer.read() == LARGE[1000:]


@check("huggingface_hub")
def commits_change_what_they_say():
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    api, first = filled("wen/changed")
    operations = [
        CommitOperationAdd("notes.txt", b"v2\n"),
        CommitOperationCopy("model.safetensors", "copy.safetensors"),
        CommitOperationDelete("sub dir/", is_folder=True),
    ]
    second = api.create_commit("wen/changed", operations, commit_message="second", parent_commit=first.oid)
    assert second.oid != first.oid
    files = {"README.md", "config.json", "copy.safetensors", "empty", "model.safetensors", "notes.txt"}
    assert set(api.list_repo_files("wen/changed")) == files
    missing = lambda: hf_hub_download("wen/changed", "notes.txt", revision=first.oid, cache_dir=tempfile.mkdtemp())
    raises(EntryNotFoundError, missing)
    titles = [commit.title for commit in api.list_repo_commits("wen/changed")]
    assert titles[:2] == ["second", "first"]
    stale = lambda: api.create_commit("wen/changed", operations[:1] , commit_message="x", parent_commit=first.oid)
    operations[0] = CommitOperationAdd("notes.txt", b"v3\n")
    assert raises(HfHubHTTPError, stale).response.status_code == 412
    assert api.delete_file("notes.txt", "wen/changed").oid != second.oid


@check("huggingface_hub")
def branches_and_tags_are_kept():
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    api, commit = filled("wen/refs")
    api.create_branch("wen/refs", branch="try/one")
    api.create_branch("wen/refs", branch="try/one", exist_ok=True)
    api.create_tag("wen/refs", tag="v1", tag_message="first")
    raises(HfHubHTTPError, lambda: api.create_tag("wen/refs", tag="v1"))
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="wen/refs", revision="try/one")
    assert api.file_exists("wen/refs", "x", revision="try/one") and not api.file_exists("wen/refs", "x", revision="v1")
    refs = api.list_repo_refs("wen/refs")
    assert {branch.name for branch in refs.branches} == {"main", "try/one"}
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1", commit.oid)]
    api.delete_branch("wen/refs", branch="try/one")
    api.delete_tag("wen/refs", tag="v1")
    raises(RevisionNotFoundError, lambda: api.model_info("wen/refs", revision="try/one"))


@check("huggingface_hub")
def datasets_are_repositories_too():
    from huggingface_hub import snapshot_download

    api = hugging_face()
    api.create_repo("wen/data", repo_type="dataset")
    api.upload_file(path_or_fileobj=LARGE, path_in_repo="a/train.parquet", repo_id="wen/data", repo_type="dataset")
    path = snapshot_download("wen/data", repo_type="dataset", cache_dir=tempfile.mkdtemp())
    assert contents(path) == {"a/train.parquet": LARGE}
    assert api.dataset_info("wen/data").id == "wen/data"
    assert "wen/data" in [info.id for info in api.list_datasets()]


@check("huggingface_hub")
def models_are_listed():
    api, _ = filled("wen/listed")
    assert [info.id for info in api.list_models(search="listed")] == ["wen/listed"]
    assert [info.id for info in api.list_models(author="nobody")] == []
    assert len(list(api.list_models(limit=1))) == 1
    card = "---\nlanguage: zh\npipeline_tag: text-generation\ntags: 7\nself: 1\nignore_metadata_errors: 1\n---\n"
    api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="wen/listed")
    for asked in [{"filter": ["zh", "safetensors"]}, {"pipeline_tag": "text-generation", "full": True}]:
        assert [info.id for info in api.list_models(search="listed", **asked)] == ["wen/listed"], asked
    assert [info.id for info in api.list_models(filter="fr")] == []
    card = b"---\nlanguage: zh\ntask_categories: [text-generation]\n---\n"
    api.create_repo("wen/sets", repo_type="dataset")
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id="wen/sets", repo_type="dataset")
    found = api.list_datasets(filter=["language:zh", "task_categories:text-generation"])
    assert [info.id for info in found] == ["wen/sets"]


@check("huggingface_hub")
def nothing_private_is_told_without_a_key():
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import RepositoryNotFoundError

    api, _ = filled("wen/hidden", private=True)
    guest = hugging_face(token=False)
    for name in ["wen/hidden", "wen/none"]:
        raises(RepositoryNotFoundError, lambda: guest.model_info(name))
        raises(RepositoryNotFoundError, lambda: guest.list_repo_files(name))
        url = hf_hub_url(name, "config.json", endpoint=os.environ["HF_ENDPOINT"])
        assert raises(urllib.error.HTTPError, lambda: urllib.request.urlopen(url)).code == 401
    raises(RepositoryNotFoundError, lambda: api.model_info("wen/none"))


@check("huggingface_hub")
def the_command_line_works():
    program = pathlib.Path(sys.executable).parent / "hf"
    root = folder({"a.txt": b"a", "b/model.safetensors": LARGE})
    subprocess.run([program, "upload", "wen/command", root, "."], check=True, capture_output=True)
    target = tempfile.mkdtemp()
    subprocess.run([program, "download", "wen/command", "--local-dir", target], check=True, capture_output=True)
    assert contents(target) == {"a.txt": b"a", "b/model.safetensors": LARGE}


@check("transformers")
def transformers_loads_a_model():
    from transformers import AutoConfig, AutoTokenizer

    api = hugging_face()
    api.create_repo("wen/qwen")
    api.upload_folder(repo_id="wen/qwen", folder_path=FIXTURE, ignore_patterns=["*.wen*", ".*"])
    # weights need a tensor library, which is left out here; they come the same way
    assert AutoConfig.from_pretrained("wen/qwen").model_type == "qwen3"
    text = "问 is a company's own Qwen."
    tokens = AutoTokenizer.from_pretrained("wen/qwen")(text)["input_ids"]
    assert tokens == AutoTokenizer.from_pretrained(str(FIXTURE))(text)["input_ids"]
    raises(OSError, lambda: AutoConfig.from_pretrained("wen/none"))


def model_scope():
    from modelscope.hub.api import HubApi

    api = HubApi(endpoint=os.environ["MODELSCOPE_ENDPOINT"])
    api.login(KEY)
    return api


def scoped(name):
    """A repository with files of its own, so that they have to be sent."""
    api = model_scope()
    api.create_model(name, visibility=5, license="apache-2.0")
    files = {path: content for path, content in FILES.items() if path != "empty"}
    files["model.safetensors"] = LARGE + name.encode()
    api.upload_folder(repo_id=name, folder_path=str(folder(files)), commit_message="first")
    return api, files


@check("modelscope")
def modelscope_uploads_and_lists():
    api, files = scoped("wen/scoped")
    listed = {file["Path"]: file for file in api.get_model_files("wen/scoped", recursive=True)}
    assert set(files) <= set(listed)
    assert listed["model.safetensors"]["Size"] == len(files["model.safetensors"])
    assert api.repo_exists("wen/scoped") and not api.repo_exists("wen/none")
    branches, tags = api.get_model_branches_and_tags("wen/scoped")
    assert (branches, tags) == (["master"], [])
    api.create_model_tag("wen/scoped", "v1.0")
    assert api.get_model_branches_and_tags("wen/scoped")[1] == ["v1.0"]


@check("modelscope")
def modelscope_downloads():
    from modelscope import snapshot_download
    from modelscope.hub.file_download import model_file_download

    _, files = scoped("wen/fetched")
    assert contents(snapshot_download("wen/fetched", cache_dir=tempfile.mkdtemp())) == files
    path = model_file_download("wen/fetched", "sub dir/file.txt", cache_dir=tempfile.mkdtemp())
    assert pathlib.Path(path).read_bytes() == b"text\n"
    raises(Exception, lambda: snapshot_download("wen/none", cache_dir=tempfile.mkdtemp()))


@check("modelscope")
def modelscope_uploads_one_file():
    api, _ = scoped("wen/single")
    api.upload_file(path_or_fileobj=b"new\n", path_in_repo="new.txt", repo_id="wen/single")
    api.upload_file(path_or_fileobj=LARGE[::-1], path_in_repo="new.bin", repo_id="wen/single")
    listed = {file["Path"]: file for file in api.get_model_files("wen/single", recursive=True)}
    assert listed["new.bin"]["Size"] == len(LARGE) and "new.txt" in listed


@check("modelscope")
def modelscope_keeps_datasets():
    from modelscope import dataset_snapshot_download

    api = model_scope()
    api.create_dataset("rows", "wen")
    root = folder({"train.jsonl": b'{"a": 1}\n', "a/b.parquet": LARGE})
    api.upload_folder(repo_id="wen/rows", folder_path=str(root), repo_type="dataset")
    path = dataset_snapshot_download("wen/rows", cache_dir=tempfile.mkdtemp())
    assert contents(path) == contents(root)


@check("modelscope", "huggingface_hub")
def both_hubs_are_one():
    api, _ = scoped("wen/both")
    hugging_face().upload_file(path_or_fileobj=b"hf", path_in_repo="hf.txt", repo_id="wen/both")
    listed = {file["Path"] for file in api.get_model_files("wen/both", recursive=True)}
    assert "hf.txt" in listed and "model.safetensors" in hugging_face().list_repo_files("wen/both")


def settle(address, home):
    """What users of the clients set, before any of them is imported."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "MODELSCOPE_")):
            del os.environ[name]
    os.environ |= {
        "HOME": home,
        "HF_HOME": f"{home}/hf",
        "HF_ENDPOINT": address,
        "HF_TOKEN": KEY,
        # files are uploaded by LFS: a hub need not speak the protocol of Hugging Face's own storage
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "MODELSCOPE_ENDPOINT": address,
        "MODELSCOPE_DOMAIN": address.removeprefix("http://"),
        "MODELSCOPE_CACHE": f"{home}/ms",
        "MODELSCOPE_CREDENTIALS_PATH": f"{home}/ms-credentials",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    if installed("modelscope") and not installed("modelscope_hub"):
        # versions before 1.35 know hubs behind HTTPS only, and there is no proxy with a certificate here
        from modelscope.hub import api
        from modelscope.hub.utils import utils

        api.MODELSCOPE_URL_SCHEME = utils.MODELSCOPE_URL_SCHEME = "http://"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wen", required=True)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    home = tempfile.mkdtemp()
    tempfile.tempdir = home
    server = subprocess.Popen(
        [arguments.wen, "serve", "--port", "0", "--api-key", KEY, "--no-model", "--hub", f"{home}/hub"],
        stdout=subprocess.PIPE,
        env={**os.environ, "WEN_LOG": "warn"},
        text=True,
    )
    failed = 0
    try:
        address = server.stdout.readline().split(" listens on ")[1].strip()
        settle(address, home)
        for function, packages in CHECKS:
            if arguments.only in function.__name__ and all(map(installed, packages)):
                name = function.__name__.replace("_", " ")
                try:
                    function()
                    print(f"ok {name}", flush=True)
                except Exception:
                    failed += 1
                    print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
        shutil.rmtree(home, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
