-- Why models stopped, in the range against the range of the same length before it.
SELECT
    ${label:model} AS model,
    reason,
    countIf(now_) AS answers,
    answers / nullIf(sum(answers) OVER (PARTITION BY model), 0) AS share,
    countIf(NOT now_) / nullIf(sum(countIf(NOT now_)) OVER (PARTITION BY model), 0) AS share_before,
    share - share_before AS difference
FROM
(
    SELECT
        ts >= $__fromTime AS now_, model, attrs['gen_ai.response.finish_reasons'] AS text,
        if(isValidJSON(text), JSONExtract(text, 'Array(String)'), if(text = '', [], [text])) AS reasons
    FROM agent_events
    WHERE ts >= $__fromTime - ($__toTime - $__fromTime) AND ts <= $__toTime AND ${filters}
        AND kind IN ('llm', 'embedding', 'rerank')
)
ARRAY JOIN arrayDistinct(reasons) AS reason
GROUP BY model, reason
ORDER BY model, answers DESC, reason
LIMIT 200;
