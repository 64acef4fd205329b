-- How many groups of a rollup can be brought to agree now, how many cannot yet (their calls differ, too, or rows came
-- into them just now), and a number that is another one for other differences.
SELECT
    countIf(settled) AS ready,
    countIf(NOT settled) AS waiting,
    sumIf(cityHash64(* EXCEPT (newest, settled)), settled) AS fingerprint
FROM (SELECT *, calls = 0 AND newest <= now64(3) - toIntervalSecond({quiet:UInt32}) AS settled FROM ({difference}));
