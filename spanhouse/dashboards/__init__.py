"""Dashboards: defined once, shown by Grafana and by the page of `spanhouse up`.

A dashboard is a file of this folder (YAML); the statement of each panel is a file of
`sql/panels/<dashboard>/`.
`python -m spanhouse.dashboards` writes `grafana/dashboards/*.json` from them.
"""
