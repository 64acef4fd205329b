-- The spans of one partition that were stored last before an offset. A message holds a span at least, so
-- `lowest` (`before` minus the limit) leaves none out; it is what the index on the offset is for.
SELECT trace_id, span_id
FROM agent_events
WHERE topic = {topic:String} AND partition = {partition:Int32}
    AND offset >= {lowest:Int64} AND offset < {before:Int64}
ORDER BY offset DESC
LIMIT {limit:UInt64};
