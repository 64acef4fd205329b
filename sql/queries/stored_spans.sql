-- Which spans of these traces have rows in a table: agent_events, or one beside it.
SELECT DISTINCT trace_id, span_id
FROM {table:Identifier}
WHERE trace_id IN {traces:Array(String)}
    AND ts BETWEEN fromUnixTimestamp64Nano({earliest:Int64}, 'UTC') AND fromUnixTimestamp64Nano({latest:Int64}, 'UTC');
