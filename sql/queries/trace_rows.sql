-- The rows of a trace whole, the first ones.
SELECT *
FROM agent_events
WHERE trace_id = {trace_id:String}
ORDER BY ts
LIMIT {limit:UInt64};
