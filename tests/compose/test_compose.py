"""compose.yaml as `docker compose config` reads it: valid, closed, limited, without secrets."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanhouse.cli import _parser

ROOT = Path(__file__).parents[2]
SECRETS = {
    "SPANHOUSE_HASH_KEY",
    "CLICKHOUSE_ADMIN_PASSWORD",
    "SPANHOUSE_WRITER_PASSWORD",
    "SPANHOUSE_READER_PASSWORD",
    "GRAFANA_ADMIN_PASSWORD",
}
BACKUP_SECRETS = {"BACKUP_ACCESS_KEY", "BACKUP_SECRET_KEY"}


def load(check: Path, environment: Path, *profiles: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [check, "compose", ROOT / "compose.yaml", environment, *profiles],
        capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file `.env`, made as the documents say."""
    folder = tmp_path_factory.mktemp("compose")
    for name in (".env.example", "Makefile"):
        (folder / name).write_text((ROOT / name).read_text())
    make = ["make", "-s", "env"]
    subprocess.run(make, cwd=folder, check=True)
    made = (folder / ".env").read_text()
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    # The second time it must not make new secrets.
    assert subprocess.run(make, cwd=folder, capture_output=True, check=False).returncode
    assert (folder / ".env").read_text() == made
    return folder / ".env"


@pytest.fixture(scope="module")
def project(check: Path, environment: Path) -> dict[str, Any]:
    done = load(check, environment, "object-storage")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def services(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = project["services"]
    return result


def lasting(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services.items() if service["restart"] != "no"}


def values(environment: Path) -> dict[str, str]:
    lines = [line for line in environment.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_example_leads_to_random_secrets_that_only_their_owner_reads(environment: Path) -> None:
    made = values(environment)
    assert set(made) == SECRETS | BACKUP_SECRETS
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in made.values())
    assert len(set(made.values())) == len(made)
    assert environment.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("missing", sorted(SECRETS))
@pytest.mark.parametrize("form", ["absent", "empty"])
def test_nothing_starts_without_a_secret(
    check: Path, environment: Path, tmp_path: Path, missing: str, form: str
) -> None:
    lines = [f"{name}={value}" for name, value in values(environment).items() if name != missing]
    lines += [f"{missing}="] if form == "empty" else []
    (tmp_path / "env").write_text("\n".join(lines))
    done = load(check, tmp_path / "env")
    assert done.returncode != 0
    assert f"required variable {missing} is missing a value: see .env.example" in done.stderr


def test_backups_need_no_secret_where_there_are_none(check: Path, environment: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in values(environment).items() if name in SECRETS}
    (tmp_path / "env").write_text("\n".join(f"{name}={value}" for name, value in kept.items()))
    done = load(check, tmp_path / "env")
    assert done.returncode == 0, done.stderr
    assert not {"object-storage", "object-storage-bucket"} & set(json.loads(done.stdout)["services"])


def test_the_defaults_of_the_example_are_those_of_the_file() -> None:
    text = (ROOT / "compose.yaml").read_text()
    documented = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    used = {(name, default) for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text) if default}
    assert set(documented.items()) == used


def test_only_otlp_and_grafana_are_open_and_only_to_this_machine(services: dict[str, dict[str, Any]]) -> None:
    published = {
        (name, port["published"], port["target"], port["host_ip"])
        for name, service in services.items()
        for port in service.get("ports") or ()
    }
    assert published == {
        ("otel-collector", "4317", 4317, "127.0.0.1"),
        ("otel-collector", "4318", 4318, "127.0.0.1"),
        ("grafana", "3000", 3000, "127.0.0.1"),
    }


def test_the_others_are_in_a_network_without_a_way_out(project: dict[str, Any]) -> None:
    assert project["networks"]["internal"]["internal"] is True
    for name, service in project["services"].items():
        assert set(service["networks"]) <= {"internal", "outside"}
        assert ("outside" in service["networks"]) == bool(service.get("ports")), name
        assert "network_mode" not in service


def test_what_runs_on_has_a_health_check_limits_and_starts_again(services: dict[str, dict[str, Any]]) -> None:
    assert len(lasting(services)) == 7
    for name, service in lasting(services).items():
        assert service["restart"] == "unless-stopped", name
        assert int(service["mem_limit"]) >= 256 << 20, name
        assert service["cpus"] > 0, name
        # The translator's is the image's (test_dockerfile.py).
        assert name == "translator" or service["healthcheck"]["test"], name
        assert service["logging"]["options"]["max-size"], name


def test_what_runs_once_comes_before_those_that_need_it(services: dict[str, dict[str, Any]]) -> None:
    once = set(services) - set(lasting(services))
    assert once == {"collector-files", "kafka-topics", "migrate", "object-storage-bucket"}
    waited_for: set[str] = set()
    for name, service in services.items():
        assert int(service["mem_limit"]) > 0
        for other, how in (service.get("depends_on") or {}).items():
            expected = "service_completed_successfully" if other in once else "service_healthy"
            assert how["condition"] == expected, (name, other)
            waited_for.add(other)
    assert once <= waited_for


def test_containers_have_few_rights(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert set(service.get("cap_add") or ()) <= {"CHOWN"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
    writable = {name for name, service in services.items() if not service.get("read_only")}
    # Their images write their configuration at the start.
    assert writable == {"kafka", "kafka-topics", "clickhouse", "grafana"}


def test_images_have_a_version(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if service.get("build"):
            assert service["image"] == "spanhouse:local"
            assert service["build"]["target"] == "translator"
        else:
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", service["image"]), name


def test_no_secret_is_in_the_file(project: dict[str, Any], environment: Path) -> None:
    """Taken out where a variable's value stands alone; what is left has no password and no key."""
    text = (ROOT / "compose.yaml").read_text()
    for key, value in re.findall(r"(\w*(?:PASSWORD|KEY|SECRET|TOKEN)\w*): (.+)", text):
        assert re.fullmatch(r"\$\{\w+(:\?see \.env\.example|:-)\}", value), key
    made = set(values(environment).values())
    for name, service in project["services"].items():
        outside = json.dumps({key: value for key, value in service.items() if key != "environment"})
        assert not any(secret in outside for secret in made), name


def test_secrets_go_only_to_those_that_need_them(
    services: dict[str, dict[str, Any]], environment: Path
) -> None:
    names = {value: name for name, value in values(environment).items()}
    given = {
        name: {names[value] for value in (service.get("environment") or {}).values() if value in names}
        for name, service in services.items()
    }
    assert {name: secrets for name, secrets in given.items() if secrets} == {
        "otel-collector": {"SPANHOUSE_HASH_KEY"},
        "clickhouse": {"CLICKHOUSE_ADMIN_PASSWORD", *BACKUP_SECRETS},
        "migrate": {
            "SPANHOUSE_HASH_KEY",
            "CLICKHOUSE_ADMIN_PASSWORD",
            "SPANHOUSE_WRITER_PASSWORD",
            "SPANHOUSE_READER_PASSWORD",
        },
        "translator": {"SPANHOUSE_HASH_KEY", "SPANHOUSE_WRITER_PASSWORD"},
        "grafana": {"GRAFANA_ADMIN_PASSWORD", "SPANHOUSE_READER_PASSWORD"},
        "object-storage": BACKUP_SECRETS,
    }


def test_data_is_in_named_volumes_and_mounted_files_exist(project: dict[str, Any]) -> None:
    used = set()
    for name, service in project["services"].items():
        for volume in service.get("volumes") or ():
            if volume["type"] == "bind":
                assert volume["read_only"], name
                source = Path(volume["source"])
                assert source.is_relative_to(ROOT), source
                assert source.is_file() or any(source.iterdir()), source
            else:
                assert volume["type"] == "volume", name
                used.add(volume["source"])
    assert used == set(project["volumes"])


def mounted(services: dict[str, dict[str, Any]], name: str, path: str) -> Path:
    """The file of the repository that a container has at `path`."""
    for volume in services[name]["volumes"]:
        inside = path.removeprefix(volume["target"])
        if volume["type"] == "bind" and (path == volume["target"] or inside.startswith("/")):
            return Path(volume["source"] + inside)
    raise AssertionError(f"{name}: nothing is mounted at {path}")


def test_the_collector_finds_its_configuration(services: dict[str, dict[str, Any]]) -> None:
    service = services["otel-collector"]
    text = ""
    for argument in service["command"]:
        text += mounted(services, "otel-collector", argument.removeprefix("--config=")).read_text()
    asked = set(re.findall(r"\$\{env:(\w+)", text))
    assert set(service["environment"]) <= asked
    without_default = set(re.findall(r"\$\{env:(\w+)\}", text))
    assert without_default <= set(service["environment"])
    # Its health check and Prometheus ask at these ports.
    assert ":13133" in text
    assert "port: 8888" in text
    # The folder of its queue is in the volume that its user may write to.
    (queue,) = [v["target"] for v in service["volumes"] if v["source"] == "collector-queue"]
    (directory,) = re.findall(
        r"^  file_storage:\n    directory: (?:\$\{env:\w+:-)?([\w/]+)", text, re.MULTILINE
    )
    assert directory == queue or directory.startswith(f"{queue}/")


def test_spanhouse_understands_its_configuration(
    services: dict[str, dict[str, Any]], environment: Path
) -> None:
    for name in ("migrate", "translator"):
        # Found without --config, for it is in the image's working folder.
        path = mounted(services, name, "/var/lib/spanhouse/spanhouse.yaml")
        done = subprocess.run(
            [sys.executable, "-m", "spanhouse", "validate", path],
            env={**os.environ, **services[name]["environment"]}, cwd=ROOT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        arguments = _parser().parse_args(services[name]["command"])
        assert arguments.config is None
    settings = yaml.safe_load(path.read_text())
    assert settings["metrics"] == "0.0.0.0:9464"
    assert (
        settings["receivers"]["kafka"]["brokers"]
        == (services["otel-collector"]["environment"]["SPANHOUSE_KAFKA_BROKERS"])
    )


def test_prometheus_asks_those_that_are_there(services: dict[str, dict[str, Any]]) -> None:
    (argument,) = [a for a in services["prometheus"]["command"] if a.startswith("--config.file=")]
    path = mounted(services, "prometheus", argument.removeprefix("--config.file="))
    asked = set()
    for job in yaml.safe_load(path.read_text())["scrape_configs"]:
        for config in job.get("static_configs", ()):
            asked |= {target.partition(":")[0] for target in config["targets"]}
        for config in job.get("dns_sd_configs", ()):
            asked |= set(config["names"])
    assert asked == {"translator", "otel-collector", "clickhouse", "localhost"}
    assert asked - {"localhost"} <= set(services)


def test_clickhouse_gets_what_its_configuration_asks_for(services: dict[str, dict[str, Any]]) -> None:
    path = mounted(services, "clickhouse", "/etc/clickhouse-server/config.d/spanhouse.xml")
    root = ET.parse(path).getroot()
    asked = {element.get("from_env") for element in root.iter() if element.get("from_env")}
    assert asked <= set(services["clickhouse"]["environment"])
    assert root.findtext("prometheus/port") == "9363"
    assert "clickhouse:9363" in (ROOT / "prometheus/prometheus.yml").read_text()


def test_grafana_knows_its_data_sources(services: dict[str, dict[str, Any]]) -> None:
    folder = mounted(services, "grafana", "/etc/grafana/provisioning")
    (file,) = (folder / "datasources").iterdir()
    sources = {source["type"]: source for source in yaml.safe_load(file.read_text())["datasources"]}
    clickhouse = sources["grafana-clickhouse-datasource"]
    assert clickhouse["jsonData"]["host"] in services
    plugin, _, version = services["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_SYNC"].partition("@")
    assert plugin == clickhouse["type"]
    assert version
    variable = clickhouse["secureJsonData"]["password"].removeprefix("$")
    assert variable in services["grafana"]["environment"]
    assert sources["prometheus"]["url"] == "http://prometheus:9090"


def test_grafana_knows_where_alerts_go(
    check: Path, services: dict[str, dict[str, Any]], environment: Path, tmp_path: Path
) -> None:
    """It does not start where an address is empty, so each has one that leads nowhere."""
    folder = mounted(services, "grafana", "/etc/grafana/provisioning")
    asked = set(re.findall(r"\$(\w+)", (folder / "alerting/contact_points.yaml").read_text()))
    assert asked == {"SPANHOUSE_SLACK_URL", "SPANHOUSE_WEBHOOK_URL"}
    assert {services["grafana"]["environment"][name].rpartition("/")[0] for name in asked} == {
        "http://127.0.0.1:9"
    }
    own = "SPANHOUSE_SLACK_URL=https://hooks.slack.com/services/T0/B0/x\nSPANHOUSE_WEBHOOK_URL=\n"
    (tmp_path / "env").write_text(environment.read_text() + own)
    given = json.loads(load(check, tmp_path / "env").stdout)["services"]["grafana"]["environment"]
    assert given["SPANHOUSE_SLACK_URL"] == "https://hooks.slack.com/services/T0/B0/x"
    assert given["SPANHOUSE_WEBHOOK_URL"] == services["grafana"]["environment"]["SPANHOUSE_WEBHOOK_URL"]


def test_topics_are_those_of_the_configuration(services: dict[str, dict[str, Any]]) -> None:
    """The script is run with Kafka's commands replaced by one that prints what it was asked for."""
    (script,) = services["kafka-topics"]["command"]
    script = re.sub(r"/opt/kafka/bin/kafka-(\w+)\.sh", r"say \1", script)
    done = subprocess.run(
        ["bash", "-ec", f'say() {{ echo "$*"; }}\n{script}'], capture_output=True, text=True, check=True
    )
    calls = [shlex.split(line) for line in done.stdout.splitlines()]
    made = {call[call.index("--topic") + 1]: call[call.index("--partitions") + 1] for call in calls[::2]}
    assert made == {"otel-spans": "12", "otel-spans.dlq": "1"}
    settings = {call[call.index("--entity-name") + 1]: call[-1] for call in calls[1::2]}
    largest = int(services["otel-collector"]["environment"]["SPANHOUSE_KAFKA_MAX_MESSAGE_BYTES"])
    assert settings["otel-spans"] == f"retention.ms={72 * 3600_000},max.message.bytes={largest}"
    assert int(settings["otel-spans.dlq"].rpartition("=")[2]) > largest


def test_the_documents_say_the_limits(services: dict[str, dict[str, Any]]) -> None:
    text = (ROOT / "docs/deploy.md").read_text()
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([^|]+) \| (\d) CPUs?, ([\d.]+) GB(?: each)? \|", text, re.MULTILINE
    )
    assert {name for name, *_ in rows} == set(lasting(services))
    for name, image, cpus, memory in rows:
        service = services[name]
        assert (service["cpus"], int(service["mem_limit"])) == (float(cpus), float(memory) * (1 << 30)), name
        if "build" not in service:
            assert service["image"].partition(":")[0] == image.strip("`"), name
    always = [row for row in rows if row[0] != "object-storage"]
    total = f"{sum(int(row[2]) for row in always)} CPUs and {sum(int(row[3]) for row in always)} GB"
    assert total in " ".join(text.split())
