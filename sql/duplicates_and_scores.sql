-- How scores grow with repetition: captions by how many samples share them. Flagged captions of
-- one sample are memorized without repetition; captions of many that are not flagged are repeated
-- without memorization.
--
-- parameter rate = 0.01: flagged is what passes the calibrated threshold at this false-positive
-- rate, or without a calibration this share of the captions
--
-- column samples_from: the bucket's least number of samples
-- column samples_to: its largest
-- column captions: how many captions are in it
-- column flagged: how many of them are flagged
-- column flagged_share: the same as a share
-- column median_decision: of the decision signal, negated if lower means memorized
-- column p90_decision: what a tenth of them exceeds
-- column flagged_examples: the two flagged captions with the highest decisions
-- column other_examples: the two other captions with the most samples
WITH bucketed AS (
    SELECT caption, n_samples, decision, decision >= decision_cut($rate) AS flagged,
           CASE WHEN n_samples <= 1 THEN 1
                ELSE CAST(2 ** ceil(log2(n_samples)) AS BIGINT) END AS samples_to
    FROM ranked
)
SELECT CASE WHEN samples_to <= 2 THEN samples_to ELSE samples_to // 2 + 1 END AS samples_from,
       samples_to,
       count(*) AS captions,
       count(*) FILTER (flagged) AS flagged,
       avg(flagged::INTEGER) AS flagged_share,
       median(decision) AS median_decision,
       quantile_cont(decision, 0.9) AS p90_decision,
       coalesce(max_by(caption, (decision, caption), 2) FILTER (flagged), []) AS flagged_examples,
       coalesce(max_by(caption, (n_samples, caption), 2) FILTER (NOT flagged), [])
           AS other_examples
FROM bucketed
GROUP BY samples_to
ORDER BY samples_to
