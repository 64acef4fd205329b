-- Which of the numbered files of this folder have been applied.
CREATE TABLE IF NOT EXISTS schema_versions
(
    version UInt32,
    name String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY version;
