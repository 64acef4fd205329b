-- By when rows were stored: in the five minutes before the end of the range, and the newest row.
SELECT
    countIf(ingested_at > $__toTime - INTERVAL 5 MINUTE) / 300 AS rows_per_second,
    count() AS rows,
    if(count() = 0, NULL, dateDiff('second', max(ingested_at), toDateTime64($__toTime, 3))) AS seconds_since_newest
FROM agent_events
WHERE ingested_at >= $__fromTime AND ingested_at <= $__toTime AND ${filters};
