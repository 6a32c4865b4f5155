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
WITH summed AS (
    SELECT name AS signal, count(value) AS captions, avg(value) AS mean,
           stddev_pop(value) AS deviation, min(value) AS least, max(value) AS most,
           approx_quantile(value, [0.01, 0.1, 0.5, 0.9, 0.99, 0.999]) AS cuts
    FROM (
        UNPIVOT (
            SELECT COLUMNS(lambda name: list_contains([
                'entropy_e', 'bos_mass', 'prompt_mass', 'summary_mass', 'noise_norm_first',
                'cosine_low_noise', 'anisotropy', 'entropy_d', 'noise_norm_mean', 'bright_ending',
                'decision'
            ], name))::DOUBLE
            FROM ranked
        ) ON COLUMNS(*) INTO NAME name VALUE value
    )
    GROUP BY name
)
SELECT signal, captions, mean, deviation, least,
       cuts[1] AS p01, cuts[2] AS p10, cuts[3] AS p50, cuts[4] AS p90, cuts[5] AS p99, cuts[6] AS p999, most
FROM summed
ORDER BY signal
