-- Each version of a prompt against the one before it, by the numbers in their names; one model call is one sample.
-- Errors by a two-proportion z test (where five errors and five others are to be expected of each), time and cost of
-- calls that succeeded by Welch's t test. Intervals are of 95 %.
SELECT
    prompt, if(versions.1 = '', '(none)', versions.1) AS before, versions.2 AS now, t.1 AS what,
    multiIf(
        NOT t.9 OR isNull(p_value) AND difference != 0, 'too few',
        isNull(p_value) OR p_value >= 0.05, 'no difference shown',
        what = 'tokens out', if(difference < 0, 'fewer', 'more'),
        difference < 0, 'better', 'worse'
    ) AS verdict,
    t.2 AS n_before, t.3 AS n_now, t.4 AS mean_before, t.5 AS mean_now, mean_now - mean_before AS difference,
    if(isFinite(t.6), t.6, NULL) AS low, if(isFinite(t.7), t.7, NULL) AS high, if(isFinite(t.8), t.8, NULL) AS p_value
FROM
(
    SELECT
        prompt, versions,
        arrayJoin([
            ('error rate', n1, n2, e1 / n1, e2 / n2, z.3, z.4, z.2,
                least(n1, n2) * least(e1 + e2, n1 + n2 - e1 - e2) / (n1 + n2) >= 5),
            ('latency ms', ok1, ok2, l1, l2, l.3, l.4, l.2, least(ok1, ok2) >= 2),
            ('first token ms', f1, f2, t1, t2, f.3, f.4, f.2, least(f1, f2) >= 2),
            ('tokens out', ok1, ok2, o1, o2, o.3, o.4, o.2, least(ok1, ok2) >= 2),
            ('USD per call', ok1, ok2, c1, c2, c.3, c.4, c.2, least(ok1, ok2) >= 2)
        ]) AS t
    FROM
    (
        SELECT
            prompt, versions,
            countIf(NOT later) AS n1, countIf(later) AS n2,
            countIf(NOT later AND failed) AS e1, countIf(later AND failed) AS e2,
            proportionsZTest(e2, e1, n2, n1, 0.95, 'pooled') AS z,
            countIf(NOT later AND NOT failed) AS ok1, countIf(later AND NOT failed) AS ok2,
            avgIf(latency_ms, NOT later AND NOT failed) AS l1, avgIf(latency_ms, later AND NOT failed) AS l2,
            welchTTestIf(0.95)(latency_ms, NOT later, NOT failed) AS l,
            countIf(NOT later AND has_ttft) AS f1, countIf(later AND has_ttft) AS f2,
            avgIf(ttft, NOT later AND has_ttft) AS t1, avgIf(ttft, later AND has_ttft) AS t2,
            welchTTestIf(0.95)(ttft, NOT later, has_ttft) AS f,
            avgIf(tokens_completion, NOT later AND NOT failed) AS o1, avgIf(tokens_completion, later AND NOT failed) AS o2,
            welchTTestIf(0.95)(toFloat64(tokens_completion), NOT later, NOT failed) AS o,
            avgIf(cost, NOT later AND NOT failed) AS c1, avgIf(cost, later AND NOT failed) AS c2,
            welchTTestIf(0.95)(cost, NOT later, NOT failed) AS c
        FROM
        (
            SELECT
                c.prompt_name AS prompt, versions, c.prompt_version = versions.2 AS later, failed, latency_ms, has_ttft,
                ttft, tokens_completion, cost
            FROM ${table:prompt_calls} AS c
            INNER JOIN
            (
                SELECT prompt_name, arrayZip(arrayPopBack(sorted), arrayPopFront(sorted)) AS pairs
                FROM
                (
                    SELECT
                        prompt_name,
                        arraySort(v -> (arrayMap(n -> toUInt64OrZero(n), extractAll(v, '\\d+')), v),
                            groupUniqArray(prompt_version)) AS sorted
                    FROM ${table:prompt_calls}
                    GROUP BY prompt_name
                )
            ) AS p ON p.prompt_name = c.prompt_name
            ARRAY JOIN arrayFilter(x -> x.1 = c.prompt_version OR x.2 = c.prompt_version, pairs) AS versions
        )
        GROUP BY prompt, versions
    )
)
WHERE n_before > 0 AND n_now > 0
ORDER BY prompt, before, now, what
LIMIT 500;
