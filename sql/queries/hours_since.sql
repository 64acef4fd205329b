-- Hours (unix seconds of their starts) of the rows that came since a time (in milliseconds).
SELECT DISTINCT toUnixTimestamp(toStartOfHour(ts)) AS hour
FROM agent_events
WHERE ingested_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') AND ts >= now() - INTERVAL 88 DAY;
