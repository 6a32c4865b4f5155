-- Distribution of each signal over the ranked captions.
--
-- column signal: name of the signal
-- column captions: number of captions with a value
-- column mean: mean
-- column deviation: standard deviation
-- column least: minimum
-- column p01: 1st percentile; percentiles are approximate (t-digest)
-- column p10: 10th percentile
-- column p50: median
-- column p90: 90th percentile
-- column p99: 99th percentile
-- column p999: 99.9th percentile
-- column most: maximum
WITH valued AS (
    SELECT signal, value FROM signals
    UNION ALL
    SELECT 'rank_score', rank_score FROM ranking
),
summed AS (
    SELECT signal, count(value) AS captions, avg(value) AS mean, stddev_pop(value) AS deviation,
           min(value) AS least, max(value) AS most,
           -- DuckDB's t-digest ends at 0 where no value is above it.
           CASE WHEN max(value) > 0
                THEN approx_quantile(value, [0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
                ELSE list_transform(
                    approx_quantile(-value, [0.99, 0.9, 0.5, 0.1, 0.01, 0.001]), lambda x: -x
                ) END AS percentiles
    FROM valued GROUP BY signal
)
SELECT signal, captions, mean, deviation, least,
       percentiles[1] AS p01, percentiles[2] AS p10, percentiles[3] AS p50,
       percentiles[4] AS p90, percentiles[5] AS p99, percentiles[6] AS p999, most
FROM summed
ORDER BY signal
