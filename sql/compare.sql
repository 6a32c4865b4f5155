-- How the scores of the same captions differ between this run and another, attached by --with
-- other=RUN: another model, another training stage, other settings.
--
-- parameter limit = 100: maximum number of captions, largest change in rank first
--
-- column caption_id: the caption's id
-- column caption: its most frequent spelling
-- column n_samples: number of samples of this run's training set that share it
-- column here: the ranking signal in this run
-- column there: the ranking signal in the other run
-- column change: there − here
-- column percentile_here: share of the captions in both runs that rank lower in this run
-- column percentile_there: the same in the other run
--
-- example limit=3
WITH in_both AS (
    SELECT one.caption_id, one.caption, one.n_samples,
           one.rank_value AS here, two.rank_value AS there,
           percent_rank() OVER (ORDER BY one.rank_score) AS percentile_here,
           percent_rank() OVER (ORDER BY two.rank_score) AS percentile_there
    FROM ranked AS one JOIN other.ranked AS two USING (caption_id)
)
SELECT caption_id, caption, n_samples, here, there, there - here AS change,
       percentile_here, percentile_there
FROM in_both
ORDER BY abs(percentile_there - percentile_here) DESC, caption_id
LIMIT $limit
