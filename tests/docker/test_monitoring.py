"""Prometheus as it is provisioned: its rules, and every query of the rules and the dashboard."""

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

from service.api.repository import router as repository
from service.api.routes import local, router
from service.oip.routes import router as oip
from service.telemetry.metrics import STAGES
from service.transformer.v1 import router as transformer_v1
from service.transformer.v2 import router as transformer_v2

DOCKER = Path(__file__).parents[2] / "docker"
PROMETHEUS = DOCKER / "prometheus"
GRAFANA = DOCKER / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "warpguard.json").read_text("utf-8"))
GROUPS = yaml.safe_load((PROMETHEUS / "rules" / "warpguard.yml").read_text("utf-8"))["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
PHOTOGRAPH = Path(find_spec("foolbox").origin).parent / "data" / "imagenet_16_251.jpg"

with_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="needs prometheus and promtool: apt-get install prometheus",
)


def promtool(*arguments, **options):
    done = subprocess.run(
        ["promtool", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@with_prometheus
def test_the_configuration_and_the_rules_are_valid():
    promtool("check", "config", PROMETHEUS / "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / "rules" / "warpguard.yml")


@with_prometheus
def test_the_alerts_fire_when_they_should_and_not_before():
    tests = PROMETHEUS / "tests" / "warpguard_test.yml"
    promtool("test", "rules", tests)
    tested = {
        case["alertname"]
        for group in yaml.safe_load(tests.read_text("utf-8"))["tests"]
        for case in group.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert tested == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_how_much_that_matters(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}


def test_the_requests_that_count_are_those_that_do_work():
    """The rules and the dashboard tell them by one expression over the routes' templates."""
    text = (PROMETHEUS / "rules" / "warpguard.yml").read_text("utf-8") + " ".join(QUERIES.values())
    (expression,) = set(re.findall(r'route=~"([^"]*)"', text))
    routes = {
        route.path: route.methods
        for each in (local, router, oip, repository, transformer_v1, transformer_v2)
        for route in each.routes
    }
    counted = {path for path in routes if re.fullmatch(expression, path)}
    assert counted == {
        path
        for path, methods in routes.items()
        if "POST" in methods and not path.startswith("/v2/repository/")
    }


def test_the_dashboard_s_panels_lie_side_by_side():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_dashboard_asks_the_provisioned_data_source():
    (source,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text("utf-8")
    )["datasources"]
    owners = [*DASHBOARD["panels"], *DASHBOARD["templating"]["list"]]
    owners += [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
    expected = {"type": source["type"], "uid": source["uid"]}
    assert [owner for owner in owners if owner["datasource"] != expected] == []
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]


def ask(url, body=None, timeout=30):
    """The status and the body of an answer, whatever the status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=timeout) as answer:
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
                ("/v1/predict", b"no image"),
                ("/v1/predict?draws=99", photograph),
                ("/v1/predict?timeout_ms=1", photograph),
                ("/v1/nothing", None),
            )
        ]
        assert statuses == [200, 200, 200, 415, 422, 504, 404]

    def api(self, path, **query):
        status, body = ask(f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        assert status == 200, body
        return json.loads(body)["data"]

    def samples(self, expression):
        """The labels and values that an expression has now."""
        return [
            (sample["metric"], float(sample["value"][1]))
            for sample in self.api("query", query=expression)["result"]
        ]

    def wait_for(self, true, seconds=30):
        give_up = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < give_up
            time.sleep(0.1)


@pytest.fixture(scope="module")
def monitored(serve, tmp_path_factory):
    """Prometheus with the shipped configuration, but for the target and the intervals."""
    service, port = serve("--allow-defense", "none", "--device", "cpu")
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
        both.wait_for(lambda: answers(both.prometheus) or prometheus.poll() is not None)
        assert prometheus.poll() is None, (folder / "log").read_text()
        for visits in (1, 2):  # what changed between two scrapes has a rate
            both.visit()
            done = f'warpguard_requests_total{{status="504"}} == {visits}'
            both.wait_for(lambda done=done: both.samples(done))
        time.sleep(1.5)  # two scrapes and two evaluations more
        yield both
    finally:
        prometheus.send_signal(signal.SIGTERM)
        prometheus.wait(30)
        log.close()
        service.send_signal(signal.SIGTERM)
        service.wait(30)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address):
    try:
        return ask(f"{address}/-/ready", timeout=1)[0] == 200
    except OSError:
        return False


def finite(samples):
    return [labels for labels, value in samples if math.isfinite(value)]


@with_prometheus
@pytest.mark.parametrize("name", QUERIES)
def test_every_query_of_the_dashboard_has_data(monitored, name):
    expression = QUERIES[name].replace("$__rate_interval", "1m").replace("$instance", ".*")
    assert finite(monitored.samples(expression))


@with_prometheus
def test_the_dashboard_shows_each_stage_status_and_defence(monitored):
    def labels(name, label):
        expression = QUERIES[name].replace("$__rate_interval", "1m").replace("$instance", ".*")
        return {sample[label] for sample in finite(monitored.samples(expression))}

    assert labels("Latency by stage, p50 A", "stage") == set(STAGES)
    assert labels("Requests by status A", "status") == {"200", "415", "422", "504"}
    assert labels("Images by defence A", "defense") == {"fd+rdg", "none"}
    assert labels("Provider A", "provider") == {"CPUExecutionProvider"}
    assert {"deadline_exceeded", "invalid_parameter"} < labels("Refusals by code A", "code")


@with_prometheus
def test_the_dashboard_s_instances_are_found(monitored):
    (variable,) = DASHBOARD["templating"]["list"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
    values = monitored.api(f"label/{label}/values", **{"match[]": metric})
    assert values == [monitored.server.removeprefix("http://")]


@with_prometheus
def test_every_rule_works(monitored):
    rules = [rule for group in monitored.api("rules")["groups"] for rule in group["rules"]]
    names = [rule.get("record") or rule["alert"] for rule in RULES]
    assert sorted(rule["name"] for rule in rules) == sorted(names)
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    records = [rule["record"] for rule in RULES if "record" in rule]
    assert [name for name in records if not finite(monitored.samples(name))] == []
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing == set()


SELECTOR = re.compile(r"\b((?:warpguard|job:warpguard|process)_\w+(?::\w+)*|up)(\{[^}]*\})?")


@with_prometheus
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_every_metric_and_label_that_a_rule_names_exists(monitored, rule):
    """But for a GPU's provider, which a server on the CPU has not."""
    selectors = SELECTOR.findall(rule["expr"])
    assert selectors
    for metric, matchers in selectors:
        anywhere = matchers.replace('provider!="CPUExecutionProvider"', 'provider!=""')
        assert monitored.samples(metric + anywhere), metric + anywhere


@with_prometheus
def test_the_metrics_keep_prometheus_s_conventions(monitored):
    status, text = ask(f"{monitored.server}/metrics")
    assert status == 200
    assert promtool("check", "metrics", input=text.decode()) == ""
    (target,) = monitored.api("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
