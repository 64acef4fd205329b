-- Each variant of an experiment against its control: the variant of that name, else the first one. Tests as in
-- version_tests.sql.
SELECT
    experiment, variants.1 AS against, variants.2 AS variant, t.1 AS what,
    multiIf(
        NOT t.9 OR isNull(p_value) AND difference != 0, 'too few',
        isNull(p_value) OR p_value >= 0.05, 'no difference shown',
        (difference < 0) = (what != 'score'), 'better', 'worse'
    ) AS verdict,
    t.2 AS n_against, t.3 AS n_variant, t.4 AS mean_against, t.5 AS mean_variant,
    mean_variant - mean_against AS difference,
    if(isFinite(t.6), t.6, NULL) AS low, if(isFinite(t.7), t.7, NULL) AS high, if(isFinite(t.8), t.8, NULL) AS p_value
FROM
(
    SELECT
        experiment, variants,
        arrayJoin([
            ('failed', n1, n2, e1 / n1, e2 / n2, z.3, z.4, z.2,
                least(n1, n2) * least(e1 + e2, n1 + n2 - e1 - e2) / (n1 + n2) >= 5),
            ('time ms', n1, n2, l1, l2, l.3, l.4, l.2, least(n1, n2) >= 2),
            ('USD per task', n1, n2, c1, c2, c.3, c.4, c.2, least(n1, n2) >= 2),
            ('score', s1, s2, v1, v2, s.3, s.4, s.2, least(s1, s2) >= 2)
        ]) AS t
    FROM
    (
        SELECT
            experiment, variants,
            countIf(NOT other) AS n1, countIf(other) AS n2,
            countIf(NOT other AND failed) AS e1, countIf(other AND failed) AS e2,
            proportionsZTest(e2, e1, n2, n1, 0.95, 'pooled') AS z,
            avgIf(ms, NOT other) AS l1, avgIf(ms, other) AS l2, welchTTest(0.95)(ms, NOT other) AS l,
            avgIf(usd, NOT other) AS c1, avgIf(usd, other) AS c2, welchTTest(0.95)(usd, NOT other) AS c,
            countIf(NOT other AND scored) AS s1, countIf(other AND scored) AS s2,
            avgIf(value, NOT other AND scored) AS v1, avgIf(value, other AND scored) AS v2,
            welchTTestIf(0.95)(value, NOT other, scored) AS s
        FROM
        (
            SELECT
                experiment, variants, variant = variants.2 AS other, failed, ms, usd, isNotNull(score) AS scored,
                ifNull(score, 0) AS value
            FROM
            (
                SELECT
                    *, groupUniqArray(variant) OVER (PARTITION BY experiment) AS names,
                    if(has(names, 'control'), 'control', arrayMin(names)) AS control
                FROM ${table:experiment_tasks}
                WHERE variant != ''
            )
            ARRAY JOIN arrayMap(name -> (control, name),
                arrayFilter(name -> name != control AND (variant = control OR variant = name), names)) AS variants
        )
        GROUP BY experiment, variants
    )
)
WHERE n_against > 0 AND n_variant > 0
ORDER BY experiment, variant, what
LIMIT 500;
