-- The captions most likely memorized, first: by the decision signal, ties by caption id.
--
-- parameter top = 100: how many rows
-- parameter min_samples = 0: leave out captions that fewer samples share
--
-- column rank: 1 is the most likely memorized
-- column caption_id: the caption's id
-- column caption: its commonest spelling
-- column n_samples: how many samples of the training set share it
-- column percentile: share of the ranked captions that come after it
-- column signal: the decision signal
-- column score: its value
-- column entropy_e: attention entropy
-- column noise_norm_first: norm of the text-conditional noise, null where it was not computed
-- column triggers: the words that carry the attention
-- column reasons: the signals above the 99th percentile of the ranked captions
--
-- example top=3
WITH chosen AS (
    FROM ranked WHERE n_samples >= $min_samples
),
high AS (
    SELECT count(*) AS total,
           quantile_cont(decision, 0.99) AS decision,
           quantile_cont(entropy_e, 0.99) AS entropy_e
    FROM chosen
),
first_rows AS (
    SELECT row_number() OVER (ORDER BY decision DESC, caption_id) AS rank, *
    FROM chosen
    ORDER BY decision DESC, caption_id
    LIMIT $top
)
SELECT rank, caption_id, caption, n_samples,
       (high.total - rank) / high.total AS percentile,
       decision_signal AS signal,
       decision_value AS score,
       first_rows.entropy_e,
       first_rows.noise_norm_first,
       triggers,
       list_filter(
           [
               CASE WHEN first_rows.decision >= high.decision
                    THEN decision_signal || ' in the top 1 %' END,
               CASE WHEN first_rows.entropy_e >= high.entropy_e AND decision_signal <> 'entropy_e'
                    THEN 'entropy_e in the top 1 %' END
           ],
           lambda reason: reason IS NOT NULL
       ) AS reasons
FROM first_rows CROSS JOIN high
ORDER BY rank
