-- Agreement of each pair of signals on the ranking of captions, over all of them and at the top.
--
-- parameter share = 0.01: share of the captions that counts as the top
-- parameter sample = 100000: number of captions, sampled by the last digits of caption_id, whose ranks are compared
--
-- column signal: one signal
-- column other: another signal; both oriented so that higher means memorized
-- column rank_correlation: Spearman's rank correlation over the sample
-- column top_overlap: share of one signal's top captions that are among the other's, over all
-- captions
WITH chosen AS (
    SELECT caption_id FROM ranking ORDER BY substr(caption_id, 25), caption_id LIMIT $sample
),
placed AS (
    SELECT signal, caption_id,
           rank() OVER (PARTITION BY signal ORDER BY oriented)
           + (count(*) OVER (PARTITION BY signal, oriented) - 1) / 2 AS place
    FROM signals SEMI JOIN chosen USING (caption_id)
),
firsts AS (
    SELECT signal, caption_id
    FROM signals
    QUALIFY row_number() OVER (PARTITION BY signal ORDER BY oriented DESC, caption_id)
            <= ceil($share * count(*) OVER (PARTITION BY signal))
),
in_both AS (
    SELECT one.signal, two.signal AS other, count(*) AS shared
    FROM firsts AS one JOIN firsts AS two USING (caption_id) GROUP BY ALL
),
sizes AS (
    SELECT signal, count(*) AS size FROM firsts GROUP BY signal
)
SELECT one.signal, two.signal AS other, corr(one.place, two.place) AS rank_correlation,
       coalesce(any_value(shared), 0) / any_value(size) AS top_overlap
FROM placed AS one
JOIN placed AS two USING (caption_id)
JOIN sizes ON sizes.signal = one.signal
LEFT JOIN in_both ON in_both.signal = one.signal AND in_both.other = two.signal
WHERE one.signal < two.signal
GROUP BY one.signal, two.signal
ORDER BY one.signal, other
