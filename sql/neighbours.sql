-- The captions whose words are most like those of one caption, with their scores.
--
-- parameter caption: its caption_id, or any text, of the run or not
-- parameter least = 0.3: the Jaccard index of the sets of words from which on one is a neighbour
-- parameter limit = 20: how many
--
-- column caption_id: the neighbour's id
-- column caption: its commonest spelling
-- column jaccard: shared words over all words of the two
-- column n_samples: how many samples of the training set share it
-- column decision: the decision signal, negated if lower means memorized
-- column probability: of being memorized, null without a calibration
--
-- example 'caption=vector drawing of fax machine, phone' limit=3
WITH asked AS (
    SELECT word_set(coalesce(
        (SELECT caption FROM captions WHERE caption_id = $caption), $caption
    )) AS wanted
),
compared AS (
    SELECT caption_id, caption, n_samples, decision, probability, word_set(caption) AS own, wanted
    FROM ranked CROSS JOIN asked
    WHERE word_jaccard_reaches(word_set(caption), wanted, $least)
)
SELECT caption_id, caption,
       shared_words(own, wanted) / (len(own) + len(wanted) - shared_words(own, wanted)) AS jaccard,
       n_samples, decision, probability
FROM compared
ORDER BY jaccard DESC, decision DESC, caption_id
LIMIT $limit
