"""The files for Prometheus and Grafana, without either of them: see also test_prometheus.py."""

import json
import re
from pathlib import Path

import pytest
import yaml

from service.api.repository import router as repository
from service.api.routes import local, router
from service.oip.routes import router as oip
from service.transformer.v1 import router as transformer_v1
from service.transformer.v2 import router as transformer_v2

DOCKER = Path(__file__).parents[2] / "docker"
RULES = (DOCKER / "prometheus" / "rules" / "warpguard.yml").read_text("utf-8")
ALERTS = [
    rule for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"] if "alert" in rule
]
SCRAPING = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8"))
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "warpguard.json").read_text("utf-8"))
PANELS = DASHBOARD["panels"]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_a_summary_and_a_description(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}


def test_only_requests_that_do_work_count():
    """The rules and the dashboard select them by one expression over the routes' templates."""
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    (expression,) = set(re.findall(r'route=~"([^"]*)"', " ".join([RULES, *queries])))
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


def test_the_dashboard_s_panels_do_not_overlap():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in PANELS
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_dashboard_uses_the_provisioned_data_source():
    provisioned = DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    (source,) = yaml.safe_load(provisioned.read_text("utf-8"))["datasources"]
    owners = [*PANELS, *DASHBOARD["templating"]["list"]]
    owners += [target for panel in PANELS for target in panel["targets"]]
    expected = {"type": source["type"], "uid": source["uid"]}
    assert [owner for owner in owners if owner["datasource"] != expected] == []
    assert source["jsonData"]["timeInterval"] == SCRAPING["global"]["scrape_interval"]
