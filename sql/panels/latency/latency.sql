SELECT if(isFinite(p[1]), p[1], NULL) AS p50, if(isFinite(p[2]), p[2], NULL) AS p95, if(isFinite(p[3]), p[3], NULL) AS p99
FROM (SELECT quantilesTDigestMerge(0.5, 0.95, 0.99)(latency) AS p FROM ${rollup} WHERE entry);
