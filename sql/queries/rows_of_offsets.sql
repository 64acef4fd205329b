-- Which rows of a range of one partition's offsets are there; `earliest` and `latest` are their times in
-- nanoseconds, so that only their days are looked at.
SELECT trace_id, span_id, offset, count() AS rows
FROM agent_events
WHERE topic = {topic:String} AND partition = {partition:Int32}
    AND offset BETWEEN {first:Int64} AND {last:Int64}
    AND ts BETWEEN fromUnixTimestamp64Nano({earliest:Int64}, 'UTC') AND fromUnixTimestamp64Nano({latest:Int64}, 'UTC')
GROUP BY trace_id, span_id, offset;
