-- Users by the week (from Monday, UTC) in which they were first seen within 90 days, and the share of them who came in
-- each later week. A week that has not begun is empty.
SELECT
    cohort,
    count() AS users,
    1 AS week_0,
    if(cohort + 7 <= $__toTime, countIf(has(weeks, cohort + 7)) / users, NULL) AS week_1,
    if(cohort + 14 <= $__toTime, countIf(has(weeks, cohort + 14)) / users, NULL) AS week_2,
    if(cohort + 21 <= $__toTime, countIf(has(weeks, cohort + 21)) / users, NULL) AS week_3,
    if(cohort + 28 <= $__toTime, countIf(has(weeks, cohort + 28)) / users, NULL) AS week_4,
    if(cohort + 35 <= $__toTime, countIf(has(weeks, cohort + 35)) / users, NULL) AS week_5,
    if(cohort + 42 <= $__toTime, countIf(has(weeks, cohort + 42)) / users, NULL) AS week_6,
    if(cohort + 49 <= $__toTime, countIf(has(weeks, cohort + 49)) / users, NULL) AS week_7
FROM
(
    SELECT groupUniqArray(toMonday(ts)) AS weeks, arrayMin(weeks) AS cohort
    FROM agent_events
    WHERE ts >= $__toTime - INTERVAL 90 DAY AND ts <= $__toTime AND user_id_hash != '' AND ${filters}
    GROUP BY user_id_hash
)
WHERE cohort > $__toTime - INTERVAL 56 DAY
GROUP BY cohort
ORDER BY cohort;
