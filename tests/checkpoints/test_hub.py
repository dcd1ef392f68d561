"""Downloads, against a small server that speaks the part of the hub's protocol that they need.

Every fetch runs in a process of its own, as a user starts it: huggingface_hub reads its
environment once, on import.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from tests.conftest import save_small_checkpoint, shared_path

from rankformer.checkpoints.hub import fetch
from rankformer.checkpoints.registry import MODELS, find_model
from rankformer.checkpoints.weights import read_tensors
from rankformer.errors import CheckpointError

NAME = "gf-12L-95M-i4096"
OLD_NAME, OLD_FOLDER = "gf-6L-30M-i2048", "gf-6L-30M-i2048"
TUNED = "gf-12L-95M-i4096_MTLCellClassifier_CELLxGENE_240522"
MAIN, PINNED, OLDER = "a" * 40, "b" * 40, "c" * 40
REVISIONS = {"main": MAIN, MAIN: MAIN, "v0.1": PINNED, PINNED: PINNED, OLDER: OLDER}
ADDRESS = re.compile(r"/ctheodoris/Geneformer/resolve/([^/]+)/(.+)")
# The client waits up to 23 s between its tries: the process sleeps no longer than this.
RUN = (
    "import sys, time; sleep = time.sleep; time.sleep = lambda s: sleep(min(s, 0.01)); "
    "from rankformer.cli import main; main()"
)


class Hub(ThreadingHTTPServer):
    """A folder a commit, served as the hub does; remembers the requests for bodies."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.root = root
        self.bodies: list[tuple[str, str, str | None]] = []
        self.heads: list[tuple[str, str]] = []
        self.cut_once: dict[str, int] = {}
        self.stall_after: dict[str, int] = {}
        self.status: int | None = None
        self.corrupt: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def names(self) -> list[str]:
        return [name for _, name, _ in self.bodies]


class _HubHandler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        if self.server.status:
            return self._fail(self.server.status, None)
        asked = ADDRESS.fullmatch(self.path)
        if asked is None:
            return self._fail(404, None)
        revision, name = asked.groups()
        if revision not in REVISIONS:
            return self._fail(404, "RevisionNotFound")
        file = self.server.root / REVISIONS[revision] / name
        if not file.is_file():
            return self._fail(404, "EntryNotFound")
        if with_body:
            self.server.bodies.append((revision, name, self.headers.get("Range")))
        else:
            self.server.heads.append((revision, name))
        return self._send(file.read_bytes(), name, REVISIONS[revision], with_body=with_body)

    def _fail(self, status, code):
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content, name, commit, *, with_body):
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if with_body:
            self._send_body(
                bytes(len(content)) if name in self.server.corrupt else content, name, start
            )

    def _send_body(self, content, name, start):
        cut = self.server.cut_once.pop(name, None)
        stall = self.server.stall_after.get(name)
        self.wfile.write(content[start : cut or stall])
        self.wfile.flush()
        if cut:
            self.close_connection = True
        elif stall:
            while name in self.server.stall_after:
                time.sleep(0.01)
            self.close_connection = True


@pytest.fixture(scope="module")
def repository(v1, v2, tmp_path_factory) -> Path:
    """Two commits with the published dictionaries, and small random models of published names."""
    root = tmp_path_factory.mktemp("hub") / MAIN
    _lay_dictionaries(root)
    shape = {"n_layers": 1, "d_model": 4, "d_ff": 4}
    # Of more than 10 MB: the client writes what came in such pieces.
    new = save_small_checkpoint(
        root / NAME, v2, max_positions=4096, n_layers=1, d_model=128, d_ff=4
    )
    old = save_small_checkpoint(root / OLD_FOLDER, v1, max_positions=2048, **shape)
    torch.save(dict(read_tensors(old / "model.safetensors")), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    for folder in (new, old):
        (folder / "vocabulary.parquet").unlink()
    shutil.copytree(root, root.parent / PINNED)
    torch.manual_seed(1)
    shutil.rmtree(root.parent / PINNED / NAME)
    pinned = save_small_checkpoint(
        root.parent / PINNED / NAME, v2, seed=1, max_positions=4096, **shape
    )
    (pinned / "vocabulary.parquet").unlink()
    # An older commit, with the dictionaries by their older names.
    _lay_dictionaries(root.parent / OLDER, release="gc95M")
    tuned = save_small_checkpoint(
        root.parent / OLDER / "fine_tuned_models" / TUNED, v2, max_positions=4096, **shape
    )
    torch.save(dict(read_tensors(tuned / "model.safetensors")), tuned / "pytorch_model.bin")
    (tuned / "model.safetensors").unlink()
    (tuned / "vocabulary.parquet").unlink()
    return root.parent


def _lay_dictionaries(root: Path, release: str = "gc104M") -> None:
    places = {
        "v1": root / "geneformer" / "gene_dictionaries_30m",
        "v2": root / "geneformer",
    }
    for series, place in places.items():
        place.mkdir(parents=True, exist_ok=True)
        for file in shared_path("geneformer", series).glob("*.pkl"):
            shutil.copyfile(file, place / file.name.replace("gc95M", release))


@pytest.fixture
def hub(repository):
    server = Hub(repository)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield server
    server.stall_after.clear()
    server.shutdown()
    server.server_close()


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "home"


def environment(home: Path, endpoint: str, **extra: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "RANKFORMER_")) and "proxy" not in name.lower()
    }
    return {
        **kept,
        "HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "huggingface"),
        "COLUMNS": "130",
        **extra,
    }


def rankformer(home: Path, endpoint: str, *arguments: str, **extra: str):
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env=environment(home, endpoint, **extra),
        capture_output=True,
        text=True,
        timeout=100,
    )


def fetched(home: Path, hub: Hub, name: str = NAME, *options: str, **extra: str) -> Path:
    """The folder that `models fetch` names, having ended well."""
    done = rankformer(home, hub.address, "models", "fetch", name, *options, **extra)
    assert done.returncode == 0, done.stderr
    return Path(re.search(r"is in (.+)\.\n", done.stderr)[1])


def opened(home: Path, model: str) -> str:
    """What `Checkpoint.open` finds, in a process that cannot reach any server."""
    code = (
        "import sys; from rankformer.checkpoints.checkpoint import Checkpoint; "
        "c = Checkpoint.open(sys.argv[1]); "
        "print(c.name, c.weights_sha256, c.vocabulary.size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, model],
        env=environment(home, "http://127.0.0.1:9", HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_fetched_model_opens_by_its_name_and_is_not_fetched_twice(hub, home, repository):
    assert "yes" not in rankformer(home, hub.address, "models").stdout
    folder = fetched(home, hub)

    weights = repository / MAIN / NAME / "model.safetensors"
    assert sha256(folder / "model.safetensors") == sha256(weights)
    assert opened(home, NAME) == f"{NAME} {sha256(weights)} 20275"
    assert len(hub.bodies) == len(set(hub.bodies)) == 6, "4 dictionaries, config and weights"

    again = rankformer(home, hub.address, "models", "fetch", "gf-12L-38M-i4096")
    assert f"is in {folder}." in again.stderr, "Helical's name is the same model"
    assert len(hub.bodies) == 6, "a second fetch downloads nothing"
    assert "not the published 4365ba23" in again.stderr, "these weights are random ones"
    assert_listed(rankformer(home, hub.address, "models").stdout)


def assert_listed(screen: str) -> None:
    words = set(re.findall(r"[\w-]+", screen))
    for model in MODELS:
        assert set(model.names) <= words
    [row] = [line for line in screen.splitlines() if "yes" in line]
    assert NAME in row
    assert "152 MB" in row, "37,997,363 parameters of 4 bytes"


def test_a_model_that_is_not_on_the_hub_is_not_asked_for():
    with pytest.raises(CheckpointError, match="is not on the hub"):
        fetch(find_model("gf-12L-40M-i2048-CZI-CellxGene"))


def test_older_folder_and_bin_weights_are_found(hub, home, repository):
    folder = fetched(home, hub, OLD_NAME)

    tried = [name for _, name in hub.heads]
    assert folder.name == OLD_FOLDER
    assert f"{OLD_FOLDER}/pytorch_model.bin" in tried
    weights = repository / MAIN / OLD_FOLDER / "pytorch_model.bin"
    assert opened(home, OLD_NAME) == f"{OLD_NAME} {sha256(weights)} 25426"


def test_a_fine_tuned_model_comes_from_an_older_revision_and_a_deeper_folder(hub, home, repository):
    folder = fetched(home, hub, TUNED, "--revision", OLDER)

    assert (folder.name, folder.parent.name) == (TUNED, "fine_tuned_models")
    weights = repository / OLDER / "fine_tuned_models" / TUNED / "pytorch_model.bin"
    assert opened(home, TUNED) == f"{TUNED} {sha256(weights)} 20275"
    missing = rankformer(home, hub.address, "models", "fetch", TUNED)
    assert missing.returncode == 2
    assert f"does not hold all of {TUNED}" in missing.stderr


def test_a_pinned_revision_is_the_one_that_comes(hub, home, repository):
    folder = fetched(home, hub, NAME, "--revision", "v0.1")

    assert {revision for revision, _ in hub.heads} <= {"v0.1", PINNED}
    pinned = sha256(repository / PINNED / NAME / "model.safetensors")
    assert sha256(folder / "model.safetensors") == pinned
    assert pinned != sha256(repository / MAIN / NAME / "model.safetensors")
    assert opened(home, NAME).split()[1] == pinned, "found by name though main was never fetched"

    main = fetched(home, hub)
    assert opened(home, NAME).split()[1] == sha256(main / "model.safetensors") != pinned


def test_a_model_is_still_found_when_the_main_branch_has_moved_on(hub, home, monkeypatch):
    folder = fetched(home, hub)
    monkeypatch.setitem(REVISIONS, "main", PINNED)
    fetched(home, hub, OLD_NAME)

    assert opened(home, NAME).split()[1] == sha256(folder / "model.safetensors")


def test_a_cut_connection_is_resumed(hub, home, repository):
    weights = f"{NAME}/model.safetensors"
    hub.cut_once[weights] = 11_000_000
    folder = fetched(home, hub)

    ranges = [asked for _, name, asked in hub.bodies if name == weights]
    assert ranges == [None, "bytes=10485760-"], "from the last piece of 10 MiB on"
    assert sha256(folder / "model.safetensors") == sha256(repository / MAIN / weights)


def test_a_killed_fetch_is_gone_on_with(hub, home, repository):
    weights = f"{NAME}/model.safetensors"
    hub.stall_after[weights] = 11_000_000
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "models", "fetch", NAME],
        env=environment(home, hub.address),
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: partial_bytes(home) >= 10_485_760 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((home / "huggingface").rglob("model.safetensors"))
    assert (
        "not on this machine"
        in rankformer(
            home, hub.address, "tokenize", str(home), "-o", str(home / "out"), "-m", NAME
        ).stderr
    )
    hub.stall_after.clear()
    n_before = len(hub.bodies)

    folder = fetched(home, hub)

    again = hub.bodies[n_before:]
    assert again == [(MAIN, weights, "bytes=10485760-")], "only what was missing"
    assert sha256(folder / "model.safetensors") == sha256(repository / MAIN / weights)
    assert partial_bytes(home) == 0


def partial_bytes(home: Path) -> int:
    return sum(each.stat().st_size for each in home.rglob("*.incomplete"))


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_came_damaged_is_not_kept(hub, home):
    hub.corrupt.add(f"{NAME}/model.safetensors")
    done = rankformer(home, hub.address, "models", "fetch", NAME)

    assert done.returncode == 2
    assert f"{NAME}/model.safetensors" in done.stderr
    assert "has the hash" in done.stderr
    assert partial_bytes(home) == 0
    hub.corrupt.clear()
    fetched(home, hub)


def test_what_is_cached_needs_no_network(hub, home):
    folder = fetched(home, hub, OLD_NAME)
    n_requests = len(hub.heads) + len(hub.bodies)

    for options, extra in ((["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"})):
        done = rankformer(home, hub.address, *options, "models", "fetch", OLD_NAME, **extra)
        assert done.returncode == 0, done.stderr
        assert str(folder) in done.stderr
    assert len(hub.heads) + len(hub.bodies) == n_requests

    without_server = rankformer(home, "http://127.0.0.1:9", "models", "fetch", OLD_NAME)
    assert without_server.returncode == 0, without_server.stderr
    assert str(folder) in without_server.stderr


def test_offline_with_an_empty_cache_says_what_to_do(hub, home):
    done = rankformer(home, hub.address, "--offline", "models", "fetch", NAME)

    assert done.returncode == 2
    assert done.stderr.startswith("CheckpointError: The Hugging Face cache")
    assert f"does not hold all of {NAME}" in done.stderr
    assert "without --offline" in done.stderr
    assert not hub.heads


def test_an_unreachable_hub_is_no_missing_file(home, monkeypatch):
    """Said at once and once, not between the lines of another library that tries again."""
    monkeypatch.setattr(f"{__name__}.RUN", "from rankformer.cli import main; main()")
    done = rankformer(home, "http://127.0.0.1:9", "models", "fetch", NAME)

    assert len(done.stderr.strip().splitlines()) == 1
    assert done.returncode == 2
    assert "geneformer/token_dictionary_gc104M.pkl" in done.stderr
    assert "could not be fetched" in done.stderr
    assert "refused" in done.stderr
    assert "HF_ENDPOINT" in done.stderr
    assert "does not hold" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("status", [401, 500])
def test_a_failing_server_ends_in_a_sentence(hub, home, status):
    hub.status = status
    done = rankformer(home, hub.address, "models", "fetch", NAME)

    assert done.returncode == 2
    assert "CheckpointError: geneformer/token_dictionary_gc104M.pkl" in done.stderr
    assert str(status) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_revision_is_named(hub, home):
    done = rankformer(home, hub.address, "models", "fetch", NAME, "--revision", "v9")

    assert done.returncode == 2
    assert "revision v9" in done.stderr


def test_a_model_that_the_repository_lacks_is_named(hub, home):
    done = rankformer(home, hub.address, "models", "fetch", "gf-18L-316M-i4096")

    assert done.returncode == 2
    assert "does not hold all of gf-18L-316M-i4096" in done.stderr
    assert "Geneformer-V2-316M" in done.stderr
