"""Every panel of every dashboard on a store with nothing in it."""

from __future__ import annotations

import pytest

from spanhouse.dashboards.model import Dashboard, Panel
from tests.dashboards.conftest import HOUR, MONTH, Asker
from tests.dashboards.shapes import PANELS, check


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_nothing_is_no_error(empty: Asker, dashboard: Dashboard, panel: Panel) -> None:
    for length in (HOUR, MONTH):
        check(panel, empty.panel(dashboard.name, panel.id, length))
