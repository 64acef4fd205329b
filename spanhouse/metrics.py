"""Every metric that spanhouse exports, with what it counts and what to do about it."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

# Payloads (requests, Kafka messages) by receiver and how they ended: stored, malformed, too_large,
# overloaded, unavailable, cancelled (the sender left before the answer). Rising `overloaded`: give the
# process more CPU or send less; `too_large`: raise the limit of the body size or send smaller batches;
# `unavailable`: the log says what the store or a processor refused.
REQUESTS: Final = Counter("spanhouse_requests", "OTLP payloads received.", ["receiver", "outcome"])
# Compressed or not as sent. Compare with the limit of the body size before raising it.
RECEIVED_BYTES: Final = Counter("spanhouse_received_bytes", "OTLP payload bytes received.", ["receiver"])
# Spans stored: the pipeline's throughput.
SPANS_STORED: Final = Counter("spanhouse_spans_stored", "Spans stored in agent_events.")
# Spans refused with a reason (also told to the sender as an OTLP partial success). Rising: a client is
# broken or a limit is too low; the reason says which.
SPANS_REJECTED: Final = Counter("spanhouse_spans_rejected", "Spans rejected.", ["reason"])
# Values cut to the length limit. Rising: raise guard.max_value_bytes or send less content.
VALUES_TRUNCATED: Final = Counter("spanhouse_values_truncated", "Attribute values cut to the length limit.")
# Dimension values replaced by __other__. Rising: some label has an id in it; name it in a processor.
CARDINALITY_DROPS: Final = Counter(
    "spanhouse_cardinality_drops", "Dimension values replaced by __other__.", ["column"]
)
# Model calls without a known price: add the model to the price table.
SPANS_UNPRICED: Final = Counter("spanhouse_spans_unpriced", "Model calls whose model has no known price.")
# Strings that a scrub rule changed.
SCRUBBED: Final = Counter("spanhouse_scrubbed_values", "Values changed or dropped by scrub.", ["rule"])
# Payload bytes accepted and not yet stored; at the limit new payloads are refused.
QUEUE_BYTES: Final = Gauge("spanhouse_queue_bytes", "Payload bytes waiting to be stored.")
# Seconds per step of a batch: decode, each processor by its name, insert. Shows where the time goes.
STEP_SECONDS: Final = Histogram(
    "spanhouse_step_seconds",
    "Seconds a step took for one batch.",
    ["step"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
BATCH_SPANS: Final = Histogram(
    "spanhouse_batch_spans", "Spans per batch.", buckets=(1, 10, 100, 500, 1000, 5000, 10000, 50000)
)
# Batches that failed as a whole by step; senders were told to retry. Rising: see the log.
BATCH_FAILURES: Final = Counter("spanhouse_batch_failures", "Batches that failed as a whole.", ["step"])
# Queries on the ClickHouse endpoint by outcome: ok, refused, failed, cancelled.
QUERIES: Final = Counter("spanhouse_queries", "Queries on the ClickHouse endpoint.", ["outcome"])
# Queries running now; at the limit of four others wait. Long at the limit: somebody's queries are heavy.
QUERIES_RUNNING: Final = Gauge("spanhouse_queries_running", "Queries running on the ClickHouse endpoint.")
QUERY_SECONDS: Final = Histogram("spanhouse_query_seconds", "Seconds per query on the ClickHouse endpoint.")
