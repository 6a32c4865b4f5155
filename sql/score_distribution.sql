-- How each signal is distributed over the ranked captions.
--
-- column signal: its name
-- column captions: how many captions have it
-- column mean: over these
-- column deviation: the standard deviation
-- column least: the smallest
-- column p01: 1 % are below; this and what follows are approximate (t-digest)
-- column p10: 10 % are below
-- column p50: the median
-- column p90: 10 % are above
-- column p99: 1 % are above
-- column p999: 0.1 % are above
-- column most: the largest
WITH valued AS (
    SELECT signal, value FROM signals
    UNION ALL
    SELECT 'decision', decision FROM decisions
),
summed AS (
    SELECT signal, count(value) AS captions, avg(value) AS mean, stddev_pop(value) AS deviation,
           min(value) AS least, max(value) AS most,
           -- DuckDB's t-digest ends at 0 where no value is above it.
           CASE WHEN max(value) > 0
                THEN approx_quantile(value, [0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
                ELSE list_transform(
                    approx_quantile(-value, [0.99, 0.9, 0.5, 0.1, 0.01, 0.001]), lambda x: -x
                ) END AS cuts
    FROM valued GROUP BY signal
)
SELECT signal, captions, mean, deviation, least,
       cuts[1] AS p01, cuts[2] AS p10, cuts[3] AS p50, cuts[4] AS p90, cuts[5] AS p99, cuts[6] AS p999, most
FROM summed
ORDER BY signal
