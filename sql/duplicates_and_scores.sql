-- How scores grow with repetition: captions grouped by the number of samples that share them.
-- Flagged captions with one sample are memorized without repetition; captions with many samples
-- that are not flagged are repeated without being memorized.
--
-- parameter rate = 0.01: flag captions beyond the calibrated threshold at this false-positive rate;
-- without a calibration, flag this share of the captions, highest-ranked first
--
-- column samples_from: smallest number of samples in the bucket
-- column samples_to: largest number of samples in the bucket
-- column captions: number of captions in the bucket
-- column flagged: number of them that are flagged
-- column flagged_share: flagged / captions
-- column median_rank_score: median of the ranking signal, oriented so that higher means memorized
-- column p90_rank_score: 90th percentile of the ranking signal
-- column flagged_examples: the two flagged captions with the highest rank_score
-- column other_examples: the two other captions with the most samples
WITH bucketed AS (
    SELECT caption, n_samples, rank_score, rank_score >= rank_threshold($rate) AS flagged,
           CASE WHEN n_samples <= 1 THEN 1
                ELSE CAST(2 ** ceil(log2(n_samples)) AS BIGINT) END AS samples_to
    FROM ranked
)
SELECT CASE WHEN samples_to <= 2 THEN samples_to ELSE samples_to // 2 + 1 END AS samples_from,
       samples_to,
       count(*) AS captions,
       count(*) FILTER (flagged) AS flagged,
       avg(flagged::INTEGER) AS flagged_share,
       median(rank_score) AS median_rank_score,
       quantile_cont(rank_score, 0.9) AS p90_rank_score,
       coalesce(max_by(caption, (rank_score, caption), 2) FILTER (flagged), []) AS flagged_examples,
       coalesce(max_by(caption, (n_samples, caption), 2) FILTER (NOT flagged), [])
           AS other_examples
FROM bucketed
GROUP BY samples_to
ORDER BY samples_to
