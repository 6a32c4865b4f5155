-- Clusters of near-duplicates among the flagged captions: what they share, and the part that
-- varies.
--
-- parameter rate = 0.01: flagged is what passes the calibrated threshold at this false-positive
-- rate, or without a calibration this share of the captions
-- parameter least = 2: how many captions a cluster has to have
-- parameter limit = 50: how many clusters
--
-- column cluster: the caption_id of its centre
-- column captions: how many captions it has
-- column samples: how many samples of the training set these are
-- column mean_decision: mean of the decision signal, negated if lower means memorized
-- column template: the centre's words; … stands for those that not all share
-- column varies: the commonest words that not all share
-- column examples: three of the captions
--
-- example limit=3
WITH flagged AS MATERIALIZED (
    SELECT caption_id, caption, n_samples, decision FROM passing($rate)
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
           avg(decision) AS mean_decision,
           any_value(caption) FILTER (caption_id = cluster) AS centre,
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
SELECT cluster, captions, samples, mean_decision,
       regexp_replace(
           list_aggregate(
               list_transform(
                   words(centre),
                   lambda word: CASE WHEN list_contains(coalesce(shared, []), word)
                                     THEN word ELSE '…' END
               ), 'string_agg', ' '
           ), '…( …)+', '…', 'g'
       ) AS template,
       coalesce(varying[:10], []) AS varies,
       examples
FROM clusters JOIN described USING (cluster)
ORDER BY captions DESC, mean_decision DESC, cluster
LIMIT $limit
