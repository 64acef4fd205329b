-- Of the requests in the range, the share without an error.
SELECT 1 - sum(errors) / nullIf(sum(calls), 0) AS availability
FROM ${rollup}
WHERE entry;
