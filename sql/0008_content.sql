-- Prompts, completions and what else is content, where `content.enabled` has it stored: scrubbed, cut to a size, kept 7 days.
-- In the order of traces, as one asks for the content of a trace or a span. `ts` is when the span started, so that all rows
-- of a span are in one part.
CREATE TABLE IF NOT EXISTS content
(
    ts DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    tenant_id LowCardinality(String),
    -- Its place among the span's: the attributes, then what its events have, in their order.
    number UInt32 CODEC(T64, ZSTD(1)),
    -- input, output, system, tool_arguments, tool_result, tool_definitions
    kind LowCardinality(String),
    -- The attribute that had it, and of which event; '' for the span's own.
    event LowCardinality(String),
    key LowCardinality(String),
    text String CODEC(ZSTD(3)),
    -- Of the text as it came.
    bytes UInt32 CODEC(T64, ZSTD(1)),
    truncated Bool,
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (trace_id, span_id, number)
TTL toDateTime(ts) + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE content MODIFY SETTING non_replicated_deduplication_window = 10000;
