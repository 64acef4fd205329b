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
# Spans that had been stored before and were not stored again: their sender repeated them because an answer
# got lost. Rising: answers come too late; raise the senders' time-out or look for what slows the store.
SPANS_DUPLICATE: Final = Counter("spanhouse_spans_duplicate", "Spans that came again and were stored once.")
# Spans refused with a reason (also told to the sender as an OTLP partial success). Rising: a client is
# broken or a limit is too low; the reason says which.
SPANS_REJECTED: Final = Counter("spanhouse_spans_rejected", "Spans rejected.", ["reason"])
# Values cut to the length limit. Rising: raise guard.max_value_bytes or send less content.
VALUES_TRUNCATED: Final = Counter("spanhouse_values_truncated", "Attribute values cut to the length limit.")
# Dimension values replaced by __other__. Rising: some label has an id in it; name it in a processor.
CARDINALITY_DROPS: Final = Counter(
    "spanhouse_cardinality_drops", "Dimension values replaced by __other__.", ["column"]
)
# Model calls without a known price: add the model to the price file.
SPANS_UNPRICED: Final = Counter("spanhouse_spans_unpriced", "Model calls whose model has no known price.")
# 1: the price file was changed and cannot be used; the log says where it is wrong. Prices stay as they were.
PRICE_FILE_BROKEN: Final = Gauge(
    "spanhouse_price_file_broken",
    "Whether the changed price file cannot be used.",
    multiprocess_mode="livemax",
)
# Strings that a scrub rule changed.
SCRUBBED: Final = Counter("spanhouse_scrubbed_values", "Values changed or dropped by scrub.", ["rule"])
# Bytes of prompts, completions and the like that were taken out of spans, by kind (input, output, system,
# tool_arguments, tool_result, tool_definitions). They are stored only with `content.enabled`. A lot, and not
# wanted: turn their capture off in the application, which saves sending them.
CONTENT_BYTES: Final = Counter("spanhouse_content_bytes", "Bytes of content taken out of spans.", ["kind"])
# Payload bytes accepted and not yet stored; at the limit new payloads are refused.
QUEUE_BYTES: Final = Gauge(
    "spanhouse_queue_bytes", "Payload bytes waiting to be stored.", multiprocess_mode="livesum"
)
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
QUERIES_RUNNING: Final = Gauge(
    "spanhouse_queries_running",
    "Queries running on the ClickHouse endpoint.",
    multiprocess_mode="livesum",
)
QUERY_SECONDS: Final = Histogram("spanhouse_query_seconds", "Seconds per query on the ClickHouse endpoint.")
# Requests to the page by what was asked for (page, static, dashboards, values, panels, traces, sql, unknown)
# and class of status. Rising 5xx: queries take too long or too much memory; the page says which.
PAGE_REQUESTS: Final = Counter("spanhouse_page_requests", "Requests to the page.", ["kind", "status"])

# What follows is of `spanhouse translate`. Messages in Kafka that are not stored yet. Rising for minutes:
# translators are too few, or do not get on; /healthz says which.
KAFKA_LAG: Final = Gauge(
    "spanhouse_kafka_lag",
    "Messages of a partition that are not stored yet.",
    ["topic", "partition"],
    multiprocess_mode="livesum",
)
KAFKA_MESSAGES: Final = Counter("spanhouse_kafka_messages", "Messages read from Kafka.", ["topic"])
# Kafka deleted messages before they were read: lengthen the topic's retention, add translators.
OFFSETS_LOST: Final = Counter(
    "spanhouse_offsets_lost", "Messages that Kafka deleted before they were read.", ["topic", "partition"]
)
# Messages, or parts of them, that cannot be stored, by reason: malformed (cannot be decoded), rejected (spans
# that guard refuses), failed (a processor failed). See the dead letter topic, mend, `spanhouse replay`.
DEAD_LETTERS: Final = Counter("spanhouse_dead_letters", "Messages sent to the dead letter topic.", ["reason"])
for _kind in ("malformed", "rejected", "failed"):
    DEAD_LETTERS.labels(_kind)  # at 0 from the start, so that the first one is a rise
# Many in a row: translators come and go, or take too long between two polls.
REBALANCES: Final = Counter("spanhouse_rebalances", "Changes of the partitions a worker has.", ["kind"])
INSERT_SECONDS: Final = Histogram(
    "spanhouse_insert_seconds",
    "Seconds per attempt to insert a batch into ClickHouse, those that failed included.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
# Inserts that failed and are tried again until they succeed. Rising: see the log for what ClickHouse says.
INSERT_RETRIES: Final = Counter("spanhouse_insert_retries", "Inserts repeated because an attempt failed.")
BUFFER_BYTES: Final = Gauge(
    "spanhouse_buffer_bytes",
    "Bytes of messages taken from Kafka and not stored yet.",
    multiprocess_mode="livesum",
)
# Above a minute: the store is down or too slow.
OLDEST_UNSTORED: Final = Gauge(
    "spanhouse_oldest_unstored_seconds",
    "Age of the oldest message taken from Kafka and not stored yet.",
    multiprocess_mode="livemax",
)
WORKERS: Final = Gauge("spanhouse_workers", "Worker processes running.", multiprocess_mode="livesum")
# Above 0: a worker is silent, ended or stores nothing; /healthz says which and why.
WORKERS_UNHEALTHY: Final = Gauge(
    "spanhouse_workers_unhealthy", "Worker processes that do not get on.", multiprocess_mode="livesum"
)
# Rising: workers crash; the log says why.
WORKER_RESTARTS: Final = Counter("spanhouse_worker_restarts", "Worker processes started again.")
# A repeated insert came after ClickHouse had forgotten the first, or ClickHouse was killed at a bad moment.
# Nothing is to be done; many: ClickHouse crashes, or `non_replicated_deduplication_window` is too small.
ROLLUPS_MENDED: Final = Counter(
    "spanhouse_rollups_mended",
    "Minutes, hours and days of the rollups that did not count their rows and were mended.",
)
