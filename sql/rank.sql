-- Captions most likely memorized, by the ranking signal, ties by caption id. The ranking signal
-- is the combination of a calibration; without one, the signal of the run that separates best on
-- the testbed (scanner/signals/README.md): noise_norm_low, or bos_mass after --profile triage.
--
-- parameter top = 100: maximum number of rows
-- parameter min_samples = 0: omit captions shared by fewer samples
--
-- column rank: 1 is the most likely memorized
-- column caption_id: the caption's id
-- column caption: its most frequent spelling
-- column n_samples: number of training samples that share it
-- column probability: probability of being memorized; null without a calibration
-- column percentile: share of the ranked captions that rank lower
-- column signal: the ranking signal
-- column score: its value
-- column entropy_e: attention entropy
-- column noise_norm_low: norm of the text-conditional noise at the low-noise step; null if not
-- computed
-- column noise_norm_first: the same at the first step; null if not computed
-- column triggers: the words that carry the attention
-- column cluster: equal for near-duplicates among the rows shown: the caption_id of one of them
-- column reasons: the signals beyond a threshold of the calibration (with its false-positive rate,
-- FPR), or without one in the top 1 % of the run (of 100,000 of its captions if it has more; none
-- if it has fewer than 100), the ranking signal first
--
-- example top=3
WITH reference AS MATERIALIZED (
    SELECT caption_id FROM reference_captions
),
chosen AS NOT MATERIALIZED (
    -- Samples are counted only where it matters.
    SELECT caption_id, rank_score FROM scored ANTI JOIN reference USING (caption_id)
    WHERE $min_samples <= 1
    UNION ALL
    SELECT caption_id, rank_score
    FROM scored SEMI JOIN (
        SELECT caption_id FROM samples WHERE NOT is_reference
        GROUP BY caption_id HAVING count(*) >= $min_samples
    ) USING (caption_id)
    WHERE $min_samples > 1
),
-- One pass gives the number of all and the first of them; min(…, n) takes a limited n.
counted AS MATERIALIZED (
    SELECT count(*) AS total,
           CASE WHEN $top <= 100000
                THEN min({back: -rank_score, caption_id: caption_id}, least($top, 100000))
           END AS first
    FROM chosen
),
first_ids AS MATERIALIZED (
    SELECT caption_id, row_number() OVER (ORDER BY back, caption_id) AS rank
    FROM (
        SELECT unnest(first, recursive := true) FROM counted
        UNION ALL
        (
            SELECT -rank_score AS back, caption_id FROM chosen WHERE $top > 100000
            ORDER BY back, caption_id LIMIT $top
        )
    )
),
first_rows AS MATERIALIZED (
    SELECT rank, scored.* FROM scored JOIN first_ids USING (caption_id)
),
shown AS MATERIALIZED (
    SELECT caption_id, caption FROM texts SEMI JOIN first_ids USING (caption_id)
),
clusters AS (
    FROM near_duplicates((SELECT list({id: caption_id, text: caption}) FROM shown))
),
counts AS (
    SELECT caption_id, count(*) AS n_samples
    FROM samples SEMI JOIN first_ids USING (caption_id)
    WHERE NOT is_reference
    GROUP BY caption_id
),
signal_thresholds AS MATERIALIZED (
    SELECT signal, false_positive_rate,
           CASE WHEN higher THEN threshold ELSE -threshold END AS least,
           format(
               '{} {} {:.4g} ({:.4g} % FPR)',
               signal, if(higher, '≥', '≤'), threshold, 100 * false_positive_rate
           ) AS reason
    FROM thresholds
    UNION ALL
    SELECT signal, 0.01, quantile_cont(oriented, 0.99), signal || ' in the top 1 %'
    FROM (SELECT unnest(by_signal, recursive := true) FROM sampled)
    WHERE (SELECT count(*) FROM thresholds) = 0
    GROUP BY signal
    HAVING count(*) >= 100
),
crossed AS (
    SELECT caption_id, rank_signal, signal, arg_min(reason, false_positive_rate) AS reason
    FROM (
        SELECT caption_id, rank_signal, unnest(by_signal, recursive := true) FROM first_rows
    )
    JOIN signal_thresholds USING (signal)
    WHERE oriented >= least
    GROUP BY caption_id, rank_signal, signal
),
explained AS (
    SELECT caption_id, list(reason ORDER BY signal <> rank_signal, signal) AS reasons
    FROM crossed
    GROUP BY caption_id
)
SELECT rank, caption_id, caption, n_samples, probability,
       (total - rank) / total AS percentile,
       rank_signal AS signal,
       rank_value AS score,
       entropy_e, noise_norm_low, noise_norm_first, triggers, cluster,
       coalesce(reasons, []) AS reasons
FROM first_rows
JOIN shown USING (caption_id)
JOIN counts USING (caption_id)
JOIN clusters ON clusters.id = caption_id
LEFT JOIN explained USING (caption_id)
CROSS JOIN counted
ORDER BY rank
