-- Distinct users of the 24 hours, 7 and 30 days before the end of the range, by whole hours.
SELECT
    uniqMergeIf(users, hour > $__toTime - INTERVAL 1 DAY) AS daily,
    uniqMergeIf(users, hour > $__toTime - INTERVAL 7 DAY) AS weekly,
    uniqMerge(users) AS monthly,
    daily / nullIf(monthly, 0) AS stickiness
FROM agent_metrics_1h_state
WHERE hour > $__toTime - INTERVAL 30 DAY AND hour <= $__toTime AND ${filters};
