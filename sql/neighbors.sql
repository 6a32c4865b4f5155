-- Captions whose word sets are most similar to those of one caption, with their scores.
--
-- parameter caption: a caption_id, or any text, whether in the run or not
-- parameter least = 0.3: smallest Jaccard index of the word sets
-- parameter limit = 20: maximum number of neighbors
--
-- column caption_id: the neighbor's id
-- column caption: its most frequent spelling
-- column jaccard: shared words divided by all words of the two captions
-- column n_samples: number of training samples that share it
-- column rank_score: the ranking signal, oriented so that higher means memorized
-- column probability: probability of being memorized; null without a calibration
--
-- example 'caption=vector drawing of fax machine, phone' limit=3
WITH query_text AS (
    SELECT word_set(coalesce(
        (SELECT caption FROM captions WHERE caption_id = $caption), $caption
    )) AS wanted
),
compared AS (
    SELECT caption_id, caption, n_samples, rank_score, probability, word_set(caption) AS own, wanted
    FROM ranked CROSS JOIN query_text
    WHERE word_jaccard_reaches(word_set(caption), wanted, $least)
)
SELECT caption_id, caption,
       shared_words(own, wanted) / (len(own) + len(wanted) - shared_words(own, wanted)) AS jaccard,
       n_samples, rank_score, probability
FROM compared
ORDER BY jaccard DESC, rank_score DESC, caption_id
LIMIT $limit
