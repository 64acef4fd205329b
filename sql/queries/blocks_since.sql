-- How many blocks came into agent_events since a time (in milliseconds): one for each insert and day.
SELECT uniqExact(topic, partition, ingested_at, toDate(ts)) AS blocks
FROM agent_events
WHERE ingested_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC');
