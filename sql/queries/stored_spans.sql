-- Which spans of these traces are there.
SELECT DISTINCT trace_id, span_id
FROM agent_events
WHERE trace_id IN {traces:Array(String)}
    AND ts BETWEEN fromUnixTimestamp64Nano({earliest:Int64}, 'UTC') AND fromUnixTimestamp64Nano({latest:Int64}, 'UTC');
