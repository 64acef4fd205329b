"""`python -m spanhouse.dashboards [FOLDER]` writes dashboards and alert rules for Grafana (into grafana)."""

import json
import sys
from pathlib import Path

from spanhouse.dashboards.alerts import rules_file
from spanhouse.dashboards.grafana import files

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "grafana")
(folder / "dashboards").mkdir(parents=True, exist_ok=True)
for name, content in files().items():
    (folder / "dashboards" / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print(f"{folder / 'dashboards' / name}: {len(content['panels'])} panels")
(folder / "provisioning/alerting").mkdir(parents=True, exist_ok=True)
(folder / "provisioning/alerting/rules.yaml").write_text(rules_file())
