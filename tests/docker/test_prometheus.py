"""A real Prometheus with the shipped files: its rules, and each query of the dashboard."""

import json
import math
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from service.telemetry.metrics import STAGES

if shutil.which("prometheus") is None or shutil.which("promtool") is None:
    pytest.skip(
        "all tests of this file need prometheus and promtool: apt-get install prometheus",
        allow_module_level=True,
    )

DOCKER = Path(__file__).parents[2] / "docker"
PROMETHEUS = DOCKER / "prometheus"
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "warpguard.json").read_text("utf-8"))
GROUPS = yaml.safe_load((PROMETHEUS / "rules" / "warpguard.yml").read_text("utf-8"))["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
RECORDS = [rule["record"] for rule in RULES if "record" in rule]
ALERTS = [rule["alert"] for rule in RULES if "alert" in rule]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    .replace("$__rate_interval", "10m")
    .replace("$instance", ".*")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
PHOTOGRAPH = Path(find_spec("foolbox").origin).parent / "data" / "imagenet_16_251.jpg"
PATIENCE_S = 250


def promtool(*arguments, **options):
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_configuration_and_the_rules_are_valid():
    promtool("check", "config", PROMETHEUS / "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / "rules" / "warpguard.yml")


def test_the_alerts_fire_when_they_should_and_not_before():
    tests = PROMETHEUS / "tests" / "warpguard_test.yml"
    promtool("test", "rules", tests)
    tested = {
        case["alertname"]
        for group in yaml.safe_load(tests.read_text("utf-8"))["tests"]
        for case in group.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert tested == set(ALERTS)


def ask(url, body=None):
    """Return the status and the body of an answer, also of an error."""
    try:
        request = urllib.request.Request(url, body)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class Monitored:
    """A server, and a Prometheus that scrapes it every half second."""

    def __init__(self, server, prometheus):
        self.server = server
        self.prometheus = prometheus

    def visit(self):
        photograph = PHOTOGRAPH.read_bytes()
        statuses = [
            ask(f"{self.server}{path}", body)[0]
            for path, body in (
                ("/v1/predict?draws=4", photograph),
                ("/v1/predict?defense=none", photograph),
                ("/v1/defend", photograph),
                ("/v1/predict", b"not an image"),
                ("/v1/predict?draws=99", photograph),
                ("/v1/predict?timeout_ms=1", photograph),
                ("/v1/nothing", None),
            )
        ]
        assert statuses == [200, 200, 200, 415, 422, 504, 404]

    def is_up(self):
        try:
            return ask(f"{self.prometheus}/-/ready")[0] == 200
        except OSError:
            return False

    def api(self, path, **query):
        status, body = ask(f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        assert status == 200, body
        return json.loads(body)["data"]

    def rules(self):
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]

    def samples(self, expression):
        """Return the labels and values that an expression has now."""
        return [
            (sample["metric"], float(sample["value"][1]))
            for sample in self.api("query", query=expression)["result"]
        ]

    def finite(self, expression):
        """Return the labels of the series that have a finite value now."""
        return [labels for labels, value in self.samples(expression) if math.isfinite(value)]

    def wait_for(self, condition):
        give_up = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up
            time.sleep(0.1)


@pytest.fixture(scope="module")
def monitored(serve, tmp_path_factory):
    """Prometheus with the shipped configuration, except for the target and the intervals."""
    service, port = serve("--allow-defense", "none", "--device", "cpu", "--deadline-ms", "250000")
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(PROMETHEUS / "rules", folder / "rules")
    shipped = (PROMETHEUS / "prometheus.yml").read_text("utf-8")
    config = shipped.replace('["warpguard:8080"]', f'["127.0.0.1:{port}"]')
    config = re.sub(r"(scrape|evaluation)_interval: .*", r"\1_interval: 500ms", config)
    assert config.count(f":{port}") == 1
    assert config.count("500ms") == 2
    (folder / "prometheus.yml").write_text(config)
    own_port = free_port()
    log = (folder / "log").open("w+")
    prometheus = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{own_port}",
        ],
        stdout=log,
        stderr=log,
    )
    both = Monitored(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{own_port}")
    try:
        both.wait_for(lambda: both.is_up() or prometheus.poll() is not None)
        assert prometheus.poll() is None, (folder / "log").read_text()
        for visits in (1, 2):  # what changed between two scrapes has a rate
            both.visit()
            done = f'warpguard_requests_total{{status="504"}} == {visits}'
            both.wait_for(lambda done=done: both.samples(done))
        both.wait_for(lambda: all(both.finite(name) for name in RECORDS))
        both.wait_for(lambda: all(rule["health"] != "unknown" for rule in both.rules()))
        yield both
    finally:
        prometheus.send_signal(signal.SIGTERM)
        prometheus.wait(PATIENCE_S)
        log.close()
        service.send_signal(signal.SIGTERM)
        service.wait(PATIENCE_S)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_of_the_dashboard_has_data(monitored, name):
    assert monitored.finite(QUERIES[name])


def test_the_dashboard_shows_each_stage_status_and_defence(monitored):
    def labels(name, label):
        return {sample[label] for sample in monitored.finite(QUERIES[name])}

    assert labels("Latency by stage, p50 A", "stage") == set(STAGES)
    assert labels("Requests by status A", "status") == {"200", "415", "422", "504"}
    assert labels("Images by defence A", "defense") == {"fd+rdg", "none"}
    assert labels("Provider A", "provider") == {"CPUExecutionProvider"}
    assert {"deadline_exceeded", "invalid_parameter"} < labels("Errors by code A", "code")


def test_the_dashboard_s_instances_are_found(monitored):
    (variable,) = DASHBOARD["templating"]["list"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
    values = monitored.api(f"label/{label}/values", **{"match[]": metric})
    assert values == [monitored.server.removeprefix("http://")]


def test_every_rule_works(monitored):
    rules = monitored.rules()
    assert sorted(rule["name"] for rule in rules) == sorted(RECORDS + ALERTS)
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


SELECTOR = re.compile(r"\b((?:warpguard|job:warpguard|process)_\w+(?::\w+)*|up)(\{[^}]*\})?")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_every_metric_and_label_in_a_rule_exists(monitored, rule):
    """The provider of a GPU is an exception, because this server runs on the CPU."""
    selectors = SELECTOR.findall(rule["expr"])
    assert selectors
    for metric, matchers in selectors:
        anywhere = matchers.replace('provider!="CPUExecutionProvider"', 'provider!=""')
        assert monitored.samples(metric + anywhere), metric + anywhere


def test_the_metrics_keep_prometheus_s_conventions(monitored):
    status, text = ask(f"{monitored.server}/metrics")
    assert status == 200
    assert promtool("check", "metrics", input=text.decode()) == ""
    (target,) = monitored.api("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
