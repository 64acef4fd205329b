-- Per service, the share of its requests that failed in the whole minutes of the time range. Of fewer than 20 requests
-- a share says nothing: it is 0 then.
SELECT
    if(service = '', '(none)', service) AS service,
    if(sum(calls) >= 20, sum(errors) / sum(calls), 0) AS error_rate
FROM agent_metrics_1m_state
WHERE minute >= toStartOfMinute($__fromTime) AND minute < toStartOfMinute($__toTime) AND entry
GROUP BY service;
