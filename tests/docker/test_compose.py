"""docker-compose.yml is valid and locked down, and its commands and files exist."""

import json
import re
import struct
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text("utf-8"))
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
PHOTOGRAPH = Path(find_spec("foolbox").origin).parent / "data" / "imagenet_08_915.jpg"
ALL_SERVICES = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
OUR_SERVICES = pytest.mark.parametrize("service", OURS.values(), ids=OURS)


def test_it_is_a_compose_file():
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", FILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@ALL_SERVICES
def test_it_cannot_write_gain_rights_or_be_reached_from_elsewhere(service):
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cpus"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@ALL_SERVICES
def test_every_mounted_folder_exists(service):
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            assert (ROOT / source).is_dir()
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
            assert target.startswith("/")


@OUR_SERVICES
def test_it_is_built_from_a_target_of_the_dockerfile(service, dockerfile):
    build = service["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).samefile(ROOT / "docker" / "Dockerfile")
    assert build["target"] in dockerfile.stages
    assert service["image"] == f"warpguard:{build['target']}"


@OUR_SERVICES
def test_it_has_enough_time_to_stop(service, settings_of, dockerfile):
    command = service.get("command") or json.loads(dockerfile.last("cpu", "CMD"))
    settings = settings_of(command, service.get("environment"))
    assert settings.drain_seconds < int(service["stop_grace_period"].removesuffix("s"))


def test_a_process_listens_on_each_published_port(settings_of):
    published = {}
    for name, service in OURS.items():
        network = re.sub("^service:", "", service.get("network_mode", name))
        settings = settings_of(service.get("command", ["serve"]), service.get("environment"))
        for other in (network, name):
            for port in SERVICES[other].get("ports", []):
                published[port] = published.get(port, False) or (
                    settings.host == "0.0.0.0" and port.endswith(f":{settings.port}")
                )
    assert published == {"127.0.0.1:8080:8080": True, "127.0.0.1:8081:8080": True}


def test_the_monitoring_finds_the_service_and_its_files():
    prometheus = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())
    (target,) = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == "warpguard:8080"
    assert "./docker/prometheus:/etc/prometheus:ro" in SERVICES["prometheus"]["volumes"]
    grafana = ROOT / "docker/grafana/provisioning"
    (source,) = yaml.safe_load((grafana / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((grafana / "dashboards/warpguard.yml").read_text())["providers"]
    path = provider["options"]["path"]
    assert f"./docker/grafana/dashboards:{path}:ro" in SERVICES["grafana"]["volumes"]


def test_only_the_sidecar_can_reach_the_classifier(settings_of):
    classifier, sidecar = SERVICES["classifier"], SERVICES["sidecar"]
    behind = settings_of(classifier["command"], classifier["environment"])
    front = settings_of(sidecar["command"])
    assert sidecar["network_mode"] == "service:classifier"
    assert behind.host == "127.0.0.1"
    assert front.predictor_host == f"127.0.0.1:{behind.port}"
    assert front.defense == "fd+rdg"
    assert sidecar["depends_on"]["classifier"]["condition"] == "service_healthy"


def test_the_commands_of_the_sidecar_profile_serve_together(serve):
    """Both processes are started as in the file, but on other ports."""
    _, behind = serve(*SERVICES["classifier"]["command"][1:])
    command = " ".join(SERVICES["sidecar"]["command"][1:])
    _, port = serve(*command.replace("127.0.0.1:9000", f"127.0.0.1:{behind}").split())
    file = PHOTOGRAPH.read_bytes()
    image = {"name": "image", "shape": [1], "datatype": "BYTES"}
    image["parameters"] = {"binary_data_size": 4 + len(file)}
    wanted = {"name": "probabilities", "parameters": {"classification": 1}}
    head = json.dumps({"inputs": [image], "outputs": [wanted]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/efficientnet-lite2/infer",
        head + struct.pack("<I", len(file)) + file,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    with urllib.request.urlopen(request, timeout=250) as response:
        answer = json.load(response)
    assert answer["outputs"][0]["data"][0].endswith(":915:yurt")
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=250).read()
    assert b'warpguard_images_total{defense="fd+rdg"} 1.0' in metrics
