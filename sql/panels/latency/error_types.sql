SELECT
    error,
    kind,
    service,
    count() AS errors,
    uniq(trace_id) AS traces,
    max(time) AS last_seen,
    argMax(trace_id, time) AS trace,
    substring(argMax(error_message, time), 1, 200) AS message
FROM ${table:failed}
GROUP BY error, kind, service
ORDER BY errors DESC, error, kind, service
LIMIT 50;
