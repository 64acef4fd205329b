-- Traces that began in the time range and ended well.
SELECT tenant_id, trace_id
FROM agent_events
WHERE $__timeFilter(ts) AND parent_span_id = '' AND status != 'error' AND ${traces};
