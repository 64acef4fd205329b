SELECT ${bucket} AS time, uniq(trace_id) AS traces
FROM (SELECT toDateTime(ts, 'UTC') AS time, trace_id FROM ${table:matching})
GROUP BY time
ORDER BY time;
