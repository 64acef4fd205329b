-- Each service against its objective over the 30 days before the end of the range; its latency by hours.
SELECT
    if(h.service = '', '(none)', h.service) AS service,
    sum(h.requests) AS requests,
    sum(h.failed) AS failed,
    1 - failed / requests AS availability,
    any(o.availability) AS objective,
    1 - failed / requests / (1 - objective) AS budget_left,
    ${percentiles:all}[2] AS p95_ms,
    any(o.latency_ms) AS target_ms,
    countIf(h.p95 <= o.latency_ms) / count() AS within_target,
    any(o.latency_share) AS latency_objective,
    1 - (1 - within_target) / (1 - latency_objective) AS latency_budget_left
FROM
(
    SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
    FROM
    (
        SELECT
            service, hour, sum(calls) AS requests, sum(errors) AS failed,
            sumMap(latency_histogram) AS all_histogram,
            ${percentiles:latency}[2] AS p95
        FROM agent_metrics_1h_state AS e
        WHERE entry AND hour > $__toTime - INTERVAL 30 DAY AND hour <= $__toTime AND ${filters}
        GROUP BY service, hour
    )
) AS h
INNER JOIN objectives AS o ON o.service = h.held_to
GROUP BY h.service
ORDER BY budget_left, service;
