-- Rollups know how many spans failed, not why.
SELECT ts AS time, kind, service, model, tool_name, trace_id, ${label:error_type} AS error, error_message
FROM agent_events
WHERE $__timeFilter(ts) AND ${filters} AND status = 'error';
