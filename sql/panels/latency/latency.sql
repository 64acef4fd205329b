SELECT if(isFinite(p[1]), p[1], NULL) AS p50, if(isFinite(p[2]), p[2], NULL) AS p95, if(isFinite(p[3]), p[3], NULL) AS p99
FROM (SELECT ${percentiles:latency} AS p FROM ${rollup} WHERE entry);
