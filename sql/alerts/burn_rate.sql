-- Per service, how many times as fast as allowed its error budget is used up: failed requests by those that the
-- objective allows. It is the lower one of two windows, the time range and its last twelfth: an alert needs both, the
-- long one to be worth it and the short one to stop soon after the errors do. 0 where there were fewer than 100
-- requests, of which a single failed one would be a burn rate of 10 for an objective of 99.9 %.
SELECT
    if(r.service = '', '(none)', r.service) AS service,
    if(
        any(r.requests) >= 100,
        least(any(r.failed) / any(r.requests), any(r.failed_lately) / greatest(any(r.requests_lately), 1))
            / greatest(1 - argMax(o.availability, o.service), 0.000001),
        0
    ) AS burn_rate
FROM
(
    WITH minute >= toStartOfMinute($__toTime) - intDiv($__toTime - $__fromTime, 12) AS lately
    SELECT
        service,
        sum(calls) AS requests,
        sum(errors) AS failed,
        sumIf(calls, lately) AS requests_lately,
        sumIf(errors, lately) AS failed_lately
    FROM agent_metrics_1m_state
    WHERE minute >= toStartOfMinute($__fromTime) AND minute < toStartOfMinute($__toTime) AND entry
    GROUP BY service
) AS r
CROSS JOIN objectives AS o
WHERE o.service = '' OR o.service = r.service
GROUP BY r.service;
