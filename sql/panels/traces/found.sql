SELECT uniq(trace_id) AS traces, count() AS spans, if(spans = 0, NULL, quantileTDigest(0.95)(latency_ms)) AS p95
FROM ${table:matching};
