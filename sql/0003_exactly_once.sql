-- An insert with an insert_deduplication_token can be repeated and still counts once. The engine remembers
-- the last so many blocks (one per partition of the table and insert) of each table that has a window; a
-- table down the chain of views without one would count a repeated insert twice.
ALTER TABLE agent_events MODIFY SETTING non_replicated_deduplication_window = 10000;
ALTER TABLE agent_metrics_1m_state MODIFY SETTING non_replicated_deduplication_window = 10000;
ALTER TABLE agent_metrics_1h_state MODIFY SETTING non_replicated_deduplication_window = 10000;

-- Which rows of a range of offsets are there, and the most recent ones of a partition.
ALTER TABLE agent_events ADD INDEX IF NOT EXISTS offset_range offset TYPE minmax GRANULARITY 1;
-- How many inserts came since.
ALTER TABLE agent_events ADD INDEX IF NOT EXISTS ingested_range ingested_at TYPE minmax GRANULARITY 4;
