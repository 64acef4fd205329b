"""A ClickHouse-compatible HTTP endpoint in front of the embedded store."""
