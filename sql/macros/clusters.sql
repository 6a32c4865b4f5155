-- Near-duplicate captions: MinHash of the sets of words, banding, confirmation by the Jaccard
-- index of the sets, clusters around the captions with most links.
--
-- Two sets of Jaccard index j share a bucket with probability 1 − (1 − j³)²⁴: 0.96 at 0.5.

-- Words in lower case; a text without any is one word. Scripts that put no spaces between words
-- give a word a character.
CREATE MACRO words(text) AS coalesce(
    nullif(
        regexp_extract_all(
            regexp_replace(lower(text), '([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}])', ' \1 ', 'g'),
            '[\p{L}\p{M}\p{N}]+'
        ),
        []
    ),
    [lower(trim(text))]
);

-- Text encoders encode 75 tokens and ignore the rest.
CREATE MACRO word_set(text) AS list_distinct(words(text)[:75]);

CREATE MACRO shared_words(a, b) AS len(list_filter(a, lambda word: list_contains(b, word)));

-- Whether the Jaccard index of two sets of words is at least so much: a ∩ b is counted once.
CREATE MACRO word_jaccard_reaches(a, b, least_index) AS
    shared_words(a, b) * (1 + least_index) >= least_index * (len(a) + len(b));

-- Of the words in a group, the band-th three MinHashes as one number. The outer hash is what makes
-- the orders of two bands independent: the inner one alone only flips the same bits of all words.
CREATE MACRO minhash_band(word, band) AS hash(
    min(hash(hash(word, 3 * band))),
    min(hash(hash(word, 3 * band + 1))),
    min(hash(hash(word, 3 * band + 2)))
);

-- captions: a list of {id, text}; gives id, cluster, where cluster is the id of one of them.
--
-- Linked are captions whose sets of words have a Jaccard index of at least 0.5. In a bucket each
-- caption meets the first and the 8 before it at most, in the order of the alphabet in one band and
-- in a random order in the next, so that the work stays linear when a bucket holds everything. A cluster grows from
-- the caption with most links along links, but only to captions whose index with that center
-- itself is at least 0.3: a chain of captions, each like the next, is cut, and no cluster can
-- swallow a data set. In each round, captions join the clusters next to them; where there are
-- none, a caption whose unplaced neighbors all have fewer links becomes a center.
CREATE MACRO near_duplicates(captions) AS TABLE
WITH RECURSIVE given AS (
    SELECT unnest(captions, max_depth := 2)
),
sets AS MATERIALIZED (
    SELECT id, text, hash(list_sort(word_set(text))) AS set_hash FROM given
),
texts AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY min(text), set_hash) AS node, set_hash,
           word_set(min(text)) AS word_set, arg_min(id, (text, id)) AS id
    FROM sets GROUP BY set_hash
),
bucketed AS (
    SELECT node,
           unnest(range(24)) AS band,
           unnest([
               minhash_band(word, 0), minhash_band(word, 1), minhash_band(word, 2),
               minhash_band(word, 3), minhash_band(word, 4), minhash_band(word, 5),
               minhash_band(word, 6), minhash_band(word, 7), minhash_band(word, 8),
               minhash_band(word, 9), minhash_band(word, 10), minhash_band(word, 11),
               minhash_band(word, 12), minhash_band(word, 13), minhash_band(word, 14),
               minhash_band(word, 15), minhash_band(word, 16), minhash_band(word, 17),
               minhash_band(word, 18), minhash_band(word, 19), minhash_band(word, 20),
               minhash_band(word, 21), minhash_band(word, 22), minhash_band(word, 23)
           ]) AS bucket
    FROM (SELECT node, unnest(word_set) AS word FROM texts)
    GROUP BY node
),
met AS (
    SELECT DISTINCT node AS a, unnest(others) AS b
    FROM (
        SELECT node,
               list(node) OVER (bucket_order ROWS BETWEEN 8 PRECEDING AND 1 PRECEDING)
               || [first_value(node) OVER bucket_order] AS others
        FROM bucketed
        WINDOW bucket_order AS (
            PARTITION BY band, bucket
            ORDER BY CASE WHEN band % 2 = 0 THEN node ELSE hash(node, band) END
        )
    )
),
linked AS (
    SELECT a, b
    FROM (SELECT DISTINCT least(a, b) AS a, greatest(a, b) AS b FROM met WHERE a <> b)
    JOIN texts AS first ON first.node = a
    JOIN texts AS second ON second.node = b
    WHERE word_jaccard_reaches(first.word_set, second.word_set, 0.5)
),
both_ways AS MATERIALIZED (
    SELECT a, b FROM linked UNION ALL SELECT b, a FROM linked
),
ordered AS MATERIALIZED (
    SELECT node, id, set_hash, word_set,
           row_number() OVER (ORDER BY coalesce(links, 0) DESC, hash(node), node) AS place
    FROM texts LEFT JOIN (SELECT a AS node, count(*) AS links FROM both_ways GROUP BY a) USING (node)
),
neighbors AS MATERIALIZED (
    SELECT first.place AS a, second.place AS b
    FROM both_ways
    JOIN ordered AS first ON first.node = a
    JOIN ordered AS second ON second.node = b
),
placed(place, center) USING KEY (place) AS (
    SELECT place, place FROM ordered
    WHERE place NOT IN (SELECT b FROM neighbors WHERE a < b)
    UNION
    (
        WITH unplaced AS (
            SELECT place, word_set FROM ordered
            WHERE place NOT IN (SELECT place FROM recurring.placed)
        ),
        joining AS (
            SELECT unplaced.place, min(placed.center) AS center
            FROM placed
            JOIN neighbors ON a = placed.place
            JOIN unplaced ON unplaced.place = b
            JOIN ordered AS centers ON centers.place = placed.center
            WHERE word_jaccard_reaches(centers.word_set, unplaced.word_set, 0.3)
            GROUP BY unplaced.place
        ),
        preceded AS (
            SELECT b FROM neighbors JOIN unplaced ON unplaced.place = a WHERE a < b
        )
        SELECT place, coalesce(joining.center, place)
        FROM unplaced LEFT JOIN joining USING (place)
        WHERE joining.center IS NOT NULL OR place NOT IN (FROM preceded)
    )
)
SELECT sets.id, centers.id AS cluster
FROM sets
JOIN ordered USING (set_hash)
JOIN placed USING (place)
JOIN ordered AS centers ON centers.place = placed.center;
