"""The Kubernetes manifests are valid, keep to the restricted policy, and fit the service."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from service import __version__
from service.app import create_app
from service.settings import Settings
from service.telemetry.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
FILES = sorted(FOLDER.glob("*/*.yaml"))
VALUES = FOLDER / "autoscaling" / "prometheus-adapter.yaml"
"""The values of a Helm chart, which are not a resource."""
RESOURCES = {
    path.relative_to(FOLDER).as_posix(): yaml.safe_load(path.read_text("utf-8"))
    for path in FILES
    if path != VALUES
}
DEPLOYMENT = RESOURCES["sidecar/deployment.yaml"]
SERVICE = RESOURCES["sidecar/service.yaml"]
KSERVE = RESOURCES["kserve/inferenceservice.yaml"]["spec"]
PODS = {
    "sidecar": DEPLOYMENT["spec"]["template"]["spec"],
    "predictor": KSERVE["predictor"],
    "transformer": KSERVE["transformer"],
}
CONTAINERS = {
    f"{name}/{container['name']}": (pod, container)
    for name, pod in PODS.items()
    for container in [*pod.get("initContainers", []), *pod["containers"]]
}
EVERY_POD = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
EVERY_CONTAINER = pytest.mark.parametrize(
    ("pod", "container"), CONTAINERS.values(), ids=CONTAINERS.keys()
)


@pytest.fixture(scope="module")
def routes():
    return set(create_app(Settings(), load=lambda: None).openapi()["paths"])


def built_in(resource):
    return not re.match(r"(kustomize\.|serving\.kserve\.|monitoring\.)", resource["apiVersion"])


@pytest.mark.parametrize("name", [name for name, one in RESOURCES.items() if built_in(one)])
def test_it_is_valid(name):
    kubernetes_validate.validate(RESOURCES[name], "1.37", strict=True)


@EVERY_POD
def test_its_pod_is_valid(pod):
    """KServe's components are pods with a few more fields, which are not used here."""
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
    kubernetes_validate.validate(manifest, "1.37", strict=True)


@EVERY_POD
def test_the_pod_keeps_to_the_restricted_policy(pod):
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()


@EVERY_CONTAINER
def test_the_container_keeps_to_the_restricted_policy(pod, container):
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"].keys() == {"requests", "limits"}


@EVERY_POD
def test_the_variables_of_a_service_do_not_become_settings(pod, settings_of):
    """A Service named warpguard would set this WARPGUARD_PORT in the pods of its namespace."""
    assert pod["enableServiceLinks"] is False
    assert settings_of(["serve"], {"WARPGUARD_PORT": "tcp://10.0.0.1:80"}).port == 8080


@EVERY_POD
def test_the_user_is_the_image_s(pod, dockerfile):
    context = pod["securityContext"]
    assert dockerfile.last("cpu", "USER") == f"{context['runAsUser']}:{context['runAsGroup']}"


@EVERY_CONTAINER
def test_it_has_enough_time_to_stop(pod, container, settings_of):
    settings = settings_of(arguments_of(container))
    assert settings.drain_seconds < pod["terminationGracePeriodSeconds"]


@EVERY_CONTAINER
def test_the_probes_use_ports_and_paths_that_exist(pod, container, routes, settings_of):
    settings = settings_of(arguments_of(container))
    names = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
    asked = set()
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind, {})
        if "httpGet" in probe:
            port = probe["httpGet"]["port"]
            assert settings.host == "0.0.0.0"
            assert names.get(port, port) == settings.port
            asked.add(probe["httpGet"]["path"])
        elif probe:
            url = re.search(
                r"http://127\.0\.0\.1:(\d+)(/\w+)", shlex.join(probe["exec"]["command"])
            )
            assert int(url[1]) == settings.port
            asked.add(url[2])
    assert asked <= routes
    assert "/readyz" in asked


def arguments_of(container):
    """The arguments of a container, and those that KServe adds to a transformer's."""
    arguments = container["args"]
    if container is KSERVE["transformer"]["containers"][0]:
        return [
            *arguments,
            "--predictor_host",
            "warpguard-predictor.default",
            "--http_port",
            "8080",
        ]
    return arguments


def test_the_transformer_understands_what_kserve_adds(settings_of):
    (container,) = KSERVE["transformer"]["containers"]
    assert any(argument.startswith("--model_name=") for argument in container["args"])
    settings = settings_of(arguments_of(container))
    assert settings.predictor_host == "warpguard-predictor.default"
    assert settings.predictor_protocol == "v2"
    assert settings.model_name == "efficientnet-lite2"
    assert settings.port == 8080


def test_only_warpguard_can_reach_the_classifier(settings_of):
    (classifier,) = PODS["sidecar"]["initContainers"]
    (warpguard,) = PODS["sidecar"]["containers"]
    behind, front = settings_of(classifier["args"]), settings_of(warpguard["args"])
    assert classifier["restartPolicy"] == "Always", "or its end would be waited for"
    assert behind.host == "127.0.0.1"
    assert front.predictor_host == f"127.0.0.1:{behind.port}"
    assert front.defense == "fd+rdg"
    assert 0 < front.drain_delay_seconds < front.drain_seconds


def test_the_resources_select_the_same_pods():
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    (port,) = SERVICE["spec"]["ports"]
    (warpguard,) = PODS["sidecar"]["containers"]
    budget = RESOURCES["sidecar/poddisruptionbudget.yaml"]["spec"]
    policy = RESOURCES["sidecar/networkpolicy.yaml"]["spec"]
    monitor = RESOURCES["autoscaling/servicemonitor.yaml"]["spec"]
    scaled = RESOURCES["autoscaling/horizontalpodautoscaler.yaml"]["spec"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert SERVICE["spec"]["selector"] == labels
    assert budget["selector"]["matchLabels"] == labels
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["ingress"] == [{"ports": [{"port": port["targetPort"]}]}]
    assert [one["name"] for one in warpguard["ports"]] == [port["targetPort"]]
    assert monitor["selector"]["matchLabels"] == SERVICE["metadata"]["labels"]
    assert monitor["endpoints"][0]["port"] == port["name"]
    target = {key: scaled["scaleTargetRef"][key] for key in ("apiVersion", "kind")}
    assert target == {key: DEPLOYMENT[key] for key in ("apiVersion", "kind")}
    assert scaled["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert scaled["minReplicas"] >= DEPLOYMENT["spec"]["replicas"] > budget["maxUnavailable"]


def test_the_autoscaler_s_metric_is_exported_scraped_and_adapted(routes):
    scaler = RESOURCES["autoscaling/horizontalpodautoscaler.yaml"]["spec"]
    metric = scaler["metrics"][0]["pods"]["metric"]["name"]
    assert metric in {family.name for family in Metrics(__version__).registry.collect()}
    monitor = RESOURCES["autoscaling/servicemonitor.yaml"]["spec"]
    assert monitor["endpoints"][0]["path"] in routes
    (rule,) = yaml.safe_load(VALUES.read_text())["rules"]["custom"]
    names = re.search(r'__name__=~"([^"]+)"', rule["seriesQuery"])[1]
    assert re.fullmatch(names, metric)


@pytest.mark.parametrize("name", ["sidecar", "autoscaling", "kserve"])
def test_the_kustomization_lists_the_files_beside_it(name):
    folder = FOLDER / name
    resources = set(RESOURCES[f"{name}/kustomization.yaml"]["resources"])
    assert all((folder / resource).exists() for resource in resources)
    beside = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", VALUES.name}
    assert beside <= resources


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("name", ["sidecar", "autoscaling", "kserve"])
def test_kustomize_renders_it(name):
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    for resource in filter(built_in, rendered):
        kubernetes_validate.validate(resource, "1.37", strict=True)
    images = re.findall(r"image: (\S+)", done.stdout)
    assert set(images) == {"warpguard:cpu"}
