-- One row per span. The sorting key serves "one tenant, a stretch of time", and has a trace's rows beside each other, which
-- compresses them best; single traces and sessions are found through the bloom filters.
CREATE TABLE IF NOT EXISTS agent_events
(
    ts DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    parent_span_id String CODEC(ZSTD(1)),
    name LowCardinality(String),
    kind LowCardinality(String),
    service LowCardinality(String),
    service_version LowCardinality(String),
    env LowCardinality(String),
    tenant_id LowCardinality(String),
    agent LowCardinality(String),
    workflow LowCardinality(String),
    session_id String CODEC(ZSTD(1)),
    user_id_hash String CODEC(ZSTD(1)),
    provider LowCardinality(String),
    model LowCardinality(String),
    operation LowCardinality(String),
    route LowCardinality(String),
    tool_name LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    variant LowCardinality(String),
    status LowCardinality(String),
    error_type LowCardinality(String),
    error_message String CODEC(ZSTD(1)),
    latency_ms Float64 CODEC(ZSTD(1)),
    ttft_ms Nullable(Float64) CODEC(ZSTD(1)),
    tokens_prompt UInt64 CODEC(T64, ZSTD(1)),
    tokens_completion UInt64 CODEC(T64, ZSTD(1)),
    tokens_cache_read UInt64 CODEC(T64, ZSTD(1)),
    tokens_cache_write UInt64 CODEC(T64, ZSTD(1)),
    tokens_reasoning UInt64 CODEC(T64, ZSTD(1)),
    cost_usd Decimal(18, 10) CODEC(T64, ZSTD(1)),
    cost_source LowCardinality(String),
    span_kind LowCardinality(String),
    status_message String CODEC(ZSTD(1)),
    trace_state String CODEC(ZSTD(1)),
    flags UInt32 CODEC(T64, ZSTD(1)),
    scope LowCardinality(String),
    scope_version LowCardinality(String),
    scope_attrs Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    scope_attr_types Map(LowCardinality(String), Enum8('empty' = 0, 'bool' = 2, 'int' = 3, 'double' = 4, 'array' = 5, 'kvlist' = 6, 'bytes' = 7)) CODEC(ZSTD(1)),
    scope_dropped UInt32 CODEC(T64, ZSTD(1)),
    scope_schema_url LowCardinality(String),
    resource Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    resource_types Map(LowCardinality(String), Enum8('empty' = 0, 'bool' = 2, 'int' = 3, 'double' = 4, 'array' = 5, 'kvlist' = 6, 'bytes' = 7)) CODEC(ZSTD(1)),
    resource_dropped UInt32 CODEC(T64, ZSTD(1)),
    resource_schema_url LowCardinality(String),
    events Nested
    (
        ts DateTime64(9, 'UTC'),
        name LowCardinality(String),
        attrs Map(LowCardinality(String), String),
        attr_types Map(LowCardinality(String), Enum8('empty' = 0, 'bool' = 2, 'int' = 3, 'double' = 4, 'array' = 5, 'kvlist' = 6, 'bytes' = 7)),
        dropped UInt32
    ) CODEC(ZSTD(1)),
    links Nested
    (
        trace_id String,
        span_id String,
        trace_state String,
        flags UInt32,
        attrs Map(LowCardinality(String), String),
        attr_types Map(LowCardinality(String), Enum8('empty' = 0, 'bool' = 2, 'int' = 3, 'double' = 4, 'array' = 5, 'kvlist' = 6, 'bytes' = 7)),
        dropped UInt32
    ) CODEC(ZSTD(1)),
    attrs Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    attr_types Map(LowCardinality(String), Enum8('empty' = 0, 'bool' = 2, 'int' = 3, 'double' = 4, 'array' = 5, 'kvlist' = 6, 'bytes' = 7)) CODEC(ZSTD(1)),
    -- JSON {"span:<attribute>": "<column>"}: attributes that stand in a column unchanged and are not repeated above.
    promoted LowCardinality(String),
    dropped_attributes UInt32 CODEC(T64, ZSTD(1)),
    dropped_events UInt32 CODEC(T64, ZSTD(1)),
    dropped_links UInt32 CODEC(T64, ZSTD(1)),
    topic LowCardinality(String),
    partition Int32 DEFAULT -1 CODEC(T64, ZSTD(1)),
    offset Int64 DEFAULT -1 CODEC(Delta, ZSTD(1)),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    INDEX trace_id_filter trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX session_id_filter session_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant_id, toUnixTimestamp(toStartOfMinute(ts)), trace_id, ts)
TTL toDateTime(ts) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;
