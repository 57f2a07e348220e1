"""The Dockerfile, carried out without an engine: its CPU target is built and run in a folder.

An empty virtual environment of this Python at ``usr/local`` takes the place of the base image, and
an absolute path in the Dockerfile means a path in the folder. docs/deployment.md lists what needs
an engine or a GPU. The build takes minutes, so its tests are slow ones.
"""

import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service import __version__
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PHOTOGRAPH = Path(find_spec("foolbox").origin).parent / "data" / "imagenet_08_915.jpg"
NETWORK = re.compile(r"PIP_|SSL_|REQUESTS_CA_BUNDLE$|.*_proxy$", re.IGNORECASE)
PIP = {name: value for name, value in os.environ.items() if NETWORK.match(name)}
MB = 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the image is for Linux")


def slow(test):
    """Mark a test that needs pip: it runs in the second tier, and may take long."""
    return pytest.mark.slow(pytest.mark.timeout(3600)(test))


def pins(file):
    lines = (ROOT / file).read_text().splitlines()
    split = (line.partition("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, _, version in split}


def context():
    """The paths of the repository that .dockerignore lets into the build."""
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    return {line[1:] for line in lines if line.startswith("!")}


class Build:
    """Carries out stages of a Dockerfile in a folder.

    Attributes:
        root: the file system of the current stage; its path never changes.
        layers: the size in bytes of each ``COPY --from`` of the stage.
    """

    def __init__(self, folder, dockerfile):
        self.root = folder / "root"
        self.layers = []
        self._dockerfile = dockerfile
        self._done = folder / "stages"
        self._done.mkdir()

    def stage(self, name):
        """Carry out a stage, after the stages that it needs; its file system is then ``root``."""
        for other in self._dockerfile.needed(name):
            if not (self._done / other).exists():
                self.stage(other)
                self.root.rename(self._done / other)
        origin, instructions = self._dockerfile.stages[name]
        if origin in self._dockerfile.stages:
            subprocess.run(["cp", "-al", self._done / origin, self.root], check=True)
        else:
            subprocess.run([sys.executable, "-m", "venv", self.root / "usr/local"], check=True)
        self.layers.clear()
        cwd = self.root
        for folder in self._dockerfile.all(name, "WORKDIR"):
            cwd = self.root / folder.lstrip("/")
            cwd.mkdir(parents=True, exist_ok=True)
        for instruction, value in instructions:
            if instruction == "COPY":
                self._copy(value, cwd)
            elif instruction == "RUN":
                command = re.sub(r"^(--\S+\s+)+", "", value)
                done = self.run(
                    ["bash", "-ec", self.within(command)],
                    cwd=cwd,
                    env=PIP,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                assert done.returncode == 0, done.stdout

    def _copy(self, value, cwd):
        *sources, target = value.split()
        target = (cwd if target.startswith("./") else self.root) / target.strip("./")
        if sources[0].startswith("--from="):
            (source,) = sources[1:]
            layer = self._done / sources[0].removeprefix("--from=") / source.lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-al", "-T", layer, target], check=True)
            self.layers.append(size(layer))
            return
        for path in map(ROOT.joinpath, sources):
            if path.is_dir():
                shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(path, target)

    def within(self, text):
        """Return a command or a value with its absolute paths moved into the folder."""
        return re.sub(r"(^|(?<=[\s='\"]))/(?=[a-z])", f"{self.root}/", text)

    def run(self, command, *, env, start=subprocess.run, **options):
        path = f"{self.root}/usr/local/bin:/usr/bin:/bin"
        return start(command, env={"PATH": path, **env}, **options)


def size(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


@pytest.fixture(scope="module")
def image(tmp_path_factory, dockerfile):
    """The built CPU image; its files are read-only, as a container's are."""
    folder = tmp_path_factory.mktemp("image")
    build = Build(folder, dockerfile)
    build.stage("cpu")
    subprocess.run(["chmod", "-R", "a-w", build.root], check=True)
    yield build
    subprocess.run(["chmod", "-R", "u+w", build.root], check=True)
    subprocess.run(["rm", "-r", folder], check=True)


@pytest.fixture(scope="module")
def packages(image):
    (folder,) = image.root.glob("usr/local/lib/python3*/site-packages")
    return folder


@pytest.fixture
def container(image, dockerfile, serve_port):
    """The image's process, without root's right to write files that are read-only."""
    rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    environment = dockerfile.pairs("cpu", "ENV")
    entrypoint, command = (dockerfile.last("cpu", name) for name in ("ENTRYPOINT", "CMD"))
    process = image.run(
        [*(rights if os.geteuid() == 0 else []), *json.loads(entrypoint), *json.loads(command)],
        start=subprocess.Popen,
        env={name: image.within(value) for name, value in environment.items()}
        | {"WARPGUARD_HOST": "127.0.0.1", "WARPGUARD_PORT": str(serve_port)},
        cwd=image.root,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def serve_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@slow
def test_the_image_serves_checks_itself_and_stops_on_sigterm(
    image, dockerfile, container, serve_port
):
    check = json.loads(dockerfile.last("cpu", "HEALTHCHECK").partition("CMD")[2])

    def healthcheck():
        environment = {"WARPGUARD_PORT": str(serve_port)}
        return image.run(check, env=environment, stderr=subprocess.DEVNULL).returncode

    assert healthcheck() == 1, "nothing listens yet"
    give_up = time.monotonic() + 600
    while healthcheck() != 0:
        assert container.poll() is None, container.stderr.read()
        assert time.monotonic() < give_up
    request = urllib.request.Request(
        f"http://127.0.0.1:{serve_port}/v1/predict?top_k=1", PHOTOGRAPH.read_bytes()
    )
    with urllib.request.urlopen(request, timeout=600) as response:
        answer = json.load(response)
    assert answer["model"] == "efficientnet-lite2"
    assert answer["predictions"][0]["label"] == "yurt"
    container.send_signal(signal.SIGTERM)
    _, log = container.communicate(timeout=600)
    assert container.returncode == 0, log
    assert "without storing" not in log, "the graph was not in the store"


@slow
def test_the_image_has_the_pinned_versions_and_nothing_else(packages):
    pinned = pins("constraints.txt")
    pinned["onnxruntime"] = pinned.pop("onnxruntime-gpu")
    found = {
        canonicalize_name(one.metadata["Name"]): one.version
        for one in importlib.metadata.distributions(path=[str(packages)])
    }
    base = {"pip", "setuptools"}  # the base image has pip, and Python 3.11's venv also setuptools
    assert found.pop("warpguard") == __version__
    assert {name: pinned.get(name) for name in found.keys() - base} == {
        name: version for name, version in found.items() if name not in base
    }
    for superfluous in ("onnxruntime-gpu", "torch", "pytest", "foolbox", "ruff"):
        assert superfluous not in found


@slow
def test_the_image_has_no_sources_tests_or_caches(image, packages):
    assert {path.name for path in image.root.iterdir()} == {"opt", "usr"}
    assert {path.name for path in (image.root / "opt").iterdir()} == {"store"}
    for folder in ("tests", "benchmarks", "harness", "scripts", "docker"):
        assert not (packages / folder).exists()
    assert not [path for path in image.root.rglob("*.whl") if "ensurepip" not in path.parts]


@slow
def test_the_layers_are_as_small_as_they_should_be(image):
    """The first layer is large and rarely changes; the last layer is warpguard itself."""
    libraries, store, warpguard = image.layers
    assert libraries < 500 * MB
    assert store < 30 * MB
    assert warpguard < 2 * MB


def test_every_copied_file_is_in_the_build_s_context(dockerfile):
    copied = [copy for stage in dockerfile.stages for copy in dockerfile.all(stage, "COPY")]
    sources = {path for copy in copied if "--from" not in copy for path in copy.split()[:-1]}
    assert "service" in sources
    assert sources <= context(), "see .dockerignore"
    assert all((ROOT / path).exists() for path in sources)


def test_no_stage_installs_a_compiler(dockerfile):
    for stage in dockerfile.stages:  # apt is the only way in which one could come
        assert not [run for run in dockerfile.all(stage, "RUN") if "apt" in run]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_both_targets_run_the_same_way(dockerfile, target):
    user, _, group = dockerfile.last(target, "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert json.loads(dockerfile.last(target, "ENTRYPOINT")) == ["warpguard"]
    assert json.loads(dockerfile.last(target, "CMD")) == ["serve"]
    environment = dockerfile.pairs(target, "ENV")
    assert environment["WARPGUARD_DEVICE"] == target
    settings = {f"WARPGUARD_{field.upper()}" for field in Settings.model_fields}
    assert {name for name in environment if name.startswith("WARPGUARD_")} <= settings
    assert dockerfile.pairs(target, "LABEL")["org.opencontainers.image.version"] == __version__
    libraries, *rest = dockerfile.all(target, "COPY")
    assert libraries == f"--from={target}-libraries /libraries /usr/local"
    assert rest == [
        "--from=warpguard /store /opt/store",
        "--from=warpguard /warpguard /usr/local",
    ]


def test_nvidia_s_libraries_are_pinned_to_versions_that_onnx_runtime_takes():
    pinned = pins("docker/constraints-cuda.txt")
    required = map(Requirement, importlib.metadata.requires("onnxruntime-gpu"))
    wanted = {
        requirement.name: requirement.specifier
        for requirement in required
        if requirement.marker
        and any(requirement.marker.evaluate({"extra": extra}) for extra in ("cuda", "cudnn"))
    }
    assert wanted
    for name, specifier in wanted.items():
        assert specifier.contains(pinned[name]), f"{name} {specifier}"


@slow
def test_the_index_has_every_pinned_version_for_the_image_s_python(dockerfile, tmp_path):
    """The index has wheels of both targets' versions for the base image's Python.

    Nothing is downloaded.
    """
    minor = re.match(r"python:(3\.\d+)-slim-", dockerfile.stages["base"][0])[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["otel"], *extras["cuda"], "onnxruntime"]
    pinned = pins("constraints.txt") | pins("docker/constraints-cuda.txt")
    pinned["onnxruntime"] = pinned["onnxruntime-gpu"]
    constraints = [f"{name}=={version}" for name, version in pinned.items()]
    (tmp_path / "constraints.txt").write_text("\n".join(constraints))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--report", "report.json"),
            *("--quiet", "--target", "none", "--only-binary", ":all:", "--python-version", minor),
            *("--constraint", "constraints.txt", *requirements),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    found = {canonicalize_name(one["metadata"]["name"]) for one in report["install"]}
    assert not found - pinned.keys()
