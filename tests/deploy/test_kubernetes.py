"""The manifests for Kubernetes: rendered, held against its schemas and KEDA's, and against Lanework's settings."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from runtime.settings import PREFIX, Settings
from tests.servers import missing

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = ("base", "keda", "monitoring", "evaluation")
FOREIGN = ("keda.sh", "monitoring.coreos.com")
VERSIONS = ("1.30", "1.34")
CHECK = """
import { readFileSync } from 'node:fs';
import * as keda from '@kubernetes-models/keda/keda.sh/v1alpha1';
import * as operator from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
const kinds = { ...keda, ...operator, ...keda.default, ...operator.default };
const told = [];
for (const object of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  try { new kinds[object.kind](object).validate(); told.push(null); } catch (error) { told.push(String(error)); }
}
console.log(JSON.stringify(told));
"""


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request):
    if shutil.which("kubectl") is None:
        missing("kubectl")
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / request.param)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pods(objects):
    """Each pod template, with the kind and name of what makes it."""
    made = [o for o in objects if o["kind"] in ("Deployment", "StatefulSet")]
    return {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in made}


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_them(objects, version):
    own = [o for o in objects if not o["apiVersion"].startswith(FOREIGN)]

    assert own
    for each in own:
        kubernetes_validate.validate(each, version, strict=True)


async def test_keda_and_the_prometheus_operator_take_them(node, objects, tmp_path):
    foreign = [o for o in objects if o["apiVersion"].startswith(FOREIGN)]
    (tmp_path / "objects.json").write_text(json.dumps(foreign))

    assert await node(CHECK, str(tmp_path / "objects.json")) == [None] * len(foreign)


def test_what_is_not_right_is_noticed():
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"replica": 1}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_pods_keep_to_the_restricted_standard(objects):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    for name, pod in pods(objects).items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"], name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert {kind for volume in pod.get("volumes", []) for kind in volume} <= {"name", "emptyDir"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name


def test_a_stop_leaves_time_to_drain(objects):
    settings = next(o for o in objects if o["kind"] == "ConfigMap")["data"]
    for name, pod in pods(objects).items():
        if name in ("redis", "history"):
            continue
        grace = pod["terminationGracePeriodSeconds"]
        pause = (
            pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [0, 0])[1]
        )
        assert grace >= float(settings["LANEWORK_GRACE"]) + int(pause) + 10, name


def test_every_setting_and_command_is_one_of_laneworks(objects):
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    named = {name for o in objects if o["kind"] == "ConfigMap" for name in o["data"]}
    named |= {name for o in objects if o["kind"] == "Secret" for name in o["stringData"]}
    containers = [container for pod in pods(objects).values() for container in pod["containers"]]
    named |= {env["name"] for container in containers for env in container.get("env", [])}
    commands = {container["args"][0] for container in containers if container["image"].startswith("lanework")}

    assert named <= known
    assert {"gateway", "worker"} <= commands <= {"gateway", "worker", "history"}


def test_what_is_selected_is_there(objects):
    labels = [
        o["spec"]["template"]["metadata"]["labels"] for o in objects if o["kind"] in ("Deployment", "StatefulSet")
    ]
    names = {(o["kind"], o["metadata"]["name"]) for o in objects}
    for each in objects:
        spec = each.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        wanted = selector.get("matchLabels", selector)
        if each["kind"] not in ("ServiceMonitor", "PrometheusRule") and wanted:
            assert any(wanted.items() <= own.items() for own in labels), each["metadata"]["name"]
        if "scaleTargetRef" in spec:
            assert ("Deployment", spec["scaleTargetRef"]["name"]) in names


def test_every_pod_has_the_image_and_the_label_that_the_network_knows(objects):
    for each in objects:
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            assert template["spec"]["containers"][0]["image"] == "lanework:latest"
            assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "lanework"


def test_no_deployment_selects_anothers_pods(objects):
    made = [o for o in objects if o["kind"] in ("Deployment", "StatefulSet")]
    for each in made:
        wanted = each["spec"]["selector"]["matchLabels"].items()
        chosen = [
            o["metadata"]["name"] for o in made if wanted <= o["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert chosen == [each["metadata"]["name"]]


def test_the_operators_rules_are_those_of_prometheus():
    shipped = yaml.safe_load((DEPLOY / "prometheus" / "lanework.rules.yml").read_text())
    rule = yaml.safe_load((DEPLOY / "kubernetes" / "monitoring" / "rules.yaml").read_text())

    assert rule["spec"] == shipped
