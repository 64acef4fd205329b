-- From a span's end until its row was stored.
SELECT quantileOrNull(0.5)(delay) AS median, quantileOrNull(0.95)(delay) AS p95, maxOrNull(delay) AS longest
FROM ${table:delays};
