-- Clusters of near-duplicates among the flagged captions: their shared words, and the part that
-- varies.
--
-- parameter rate = 0.01: flag captions beyond the calibrated threshold at this false-positive rate;
-- without a calibration, flag this share of the captions, highest-ranked first
-- parameter least = 2: minimum number of captions per cluster
-- parameter limit = 50: maximum number of clusters
--
-- column cluster: caption_id of the cluster's center
-- column captions: number of captions in the cluster
-- column samples: number of training samples with these captions
-- column mean_rank_score: mean of the ranking signal, oriented so that higher means memorized
-- column template: words of the center; … stands for words that not all captions share
-- column varies: most frequent words that not all captions share
-- column examples: three of the captions
--
-- example limit=3
WITH flagged AS MATERIALIZED (
    SELECT caption_id, caption, n_samples, rank_score FROM flagged_captions($rate)
),
clustered AS (
    SELECT near.cluster, flagged.*
    FROM near_duplicates((
        SELECT list({id: caption_id, text: caption} ORDER BY caption_id) FROM flagged
    )) AS near
    JOIN flagged ON near.id = caption_id
),
clusters AS (
    SELECT cluster, count(*) AS captions, CAST(sum(n_samples) AS BIGINT) AS samples,
           avg(rank_score) AS mean_rank_score,
           any_value(caption) FILTER (caption_id = cluster) AS center,
           min(caption, 3) AS examples
    FROM clustered GROUP BY cluster HAVING count(*) >= $least
),
each_word AS (
    SELECT cluster, word, count(*) AS n
    FROM (SELECT cluster, unnest(word_set(caption)) AS word FROM clustered)
    GROUP BY cluster, word
),
described AS (
    SELECT cluster,
           list(word) FILTER (n = captions) AS shared,
           list(word ORDER BY n DESC, word) FILTER (n < captions) AS varying
    FROM each_word JOIN clusters USING (cluster) GROUP BY cluster
)
SELECT cluster, captions, samples, mean_rank_score,
       regexp_replace(
           list_aggregate(
               list_transform(
                   words(center),
                   lambda word: CASE WHEN list_contains(coalesce(shared, []), word)
                                     THEN word ELSE '…' END
               ), 'string_agg', ' '
           ), '…( …)+', '…', 'g'
       ) AS template,
       coalesce(varying[:10], []) AS varies,
       examples
FROM clusters JOIN described USING (cluster)
ORDER BY captions DESC, mean_rank_score DESC, cluster
LIMIT $limit
