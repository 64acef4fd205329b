-- What spans say of how good something was: evaluators' scores, users' feedback, guardrails' verdicts. `ts` is when the
-- span started that says so, so that all rows of a span are in one part.
CREATE TABLE IF NOT EXISTS evaluations
(
    ts DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    -- Its place among the span's.
    number UInt32 CODEC(T64, ZSTD(1)),
    -- The span that was evaluated: the same one, or its parent.
    evaluated_span_id String CODEC(ZSTD(1)),
    tenant_id LowCardinality(String),
    -- As in agent_events, of the span that says so.
    service LowCardinality(String),
    env LowCardinality(String),
    agent LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    route LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    variant LowCardinality(String),
    -- evaluation, feedback, guardrail
    type LowCardinality(String),
    name LowCardinality(String),
    score Nullable(Float64) CODEC(ZSTD(1)),
    label LowCardinality(String),
    explanation String CODEC(ZSTD(1)),
    -- Who judged, or what kind of judge.
    evaluator LowCardinality(String),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    INDEX trace_id_filter trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant_id, name, ts)
TTL toDateTime(ts) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE evaluations MODIFY SETTING non_replicated_deduplication_window = 10000;
