-- Images that are the same: perceptual hashes, banding, confirmation by Hamming distance and colors,
-- clusters around the images with most links.
--
-- Two hashes that differ in d of 64 bits share a bucket with probability 1 − (1 − p)³², where p is
-- the share of samples of 16 bits without any of the d: 0.9998 at 4, 0.997 at 6, 0.94 at 8.

-- Whether two images {hash, colors} differ in at most so many bits of the perceptual hash, which
-- sees no color, and by at most 16 of 255 (root mean square) in their 4 × 4 mean colors.
CREATE MACRO images_agree(a_hash, a_colors, b_hash, b_colors, most_bits) AS
    bit_count(xor(a_hash, b_hash)) <= most_bits
    AND list_distance(a_colors, b_colors) <= 16 * sqrt(len(a_colors));

-- The sampled bits of a hash, by band; drawn once at random.
CREATE MACRO hash_bands(hash) AS list_transform(
    [
        83035263190245380, 723215610100515648, 5062056462099948096, 120582383689859113,
        184753758464430609, 4845908441408733408, 8216818035887210528, 581259571885054772,
        6530281058141905920, 5198304748764266656, 19250249723991178, 23671746611663510,
        7503032507227445414, 3457432701493338, 13835146296094169164, 10895922805470143496,
        9511618155475634305, 27747327517327909, 865018371699015936, 9232435586367804449,
        5233802960651224084, 10160402555106492429, 9269614231845613857, 4688276632619325633,
        597856150444249506, 126127280934298246, 306441882127312928, 110092587471602465,
        144185729734838164, 13935333558788294736, 16944811193525600388, 1623689571403846712
    ]::UBIGINT[],
    lambda mask: hash & mask
);

-- images: a list of {id, hash UBIGINT, colors FLOAT[]}; gives id, cluster, distance, where cluster
-- is the id of the cluster's central image, and distance the bits that differ from it.
--
-- Linked are images that agree within most_bits. In a bucket each image meets the first and the 8
-- before it at most, in the order of the hashes in one band and in a random order in the next, so
-- that the work stays linear when a bucket holds everything. As for captions, a cluster grows from
-- the image with most links along links, but only to images that agree with that center within half
-- as many bits more: a chain of images, each like the next, is cut.
CREATE MACRO near_duplicate_images(images, most_bits) AS TABLE
WITH RECURSIVE given AS (
    SELECT unnest(images, max_depth := 2)
),
pictures AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY hash, colors) AS node, hash, colors, min(id) AS id
    FROM given GROUP BY hash, colors
),
bucketed AS (
    SELECT node, unnest(range(32)) AS band, unnest(hash_bands(hash)) AS bucket FROM pictures
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
    JOIN pictures AS first ON first.node = a
    JOIN pictures AS second ON second.node = b
    WHERE images_agree(first.hash, first.colors, second.hash, second.colors, most_bits)
),
both_ways AS MATERIALIZED (
    SELECT a, b FROM linked UNION ALL SELECT b, a FROM linked
),
ordered AS MATERIALIZED (
    SELECT node, id, hash, colors,
           row_number() OVER (ORDER BY coalesce(links, 0) DESC, hash(node), node) AS place
    FROM pictures
    LEFT JOIN (SELECT a AS node, count(*) AS links FROM both_ways GROUP BY a) USING (node)
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
            SELECT place, hash, colors FROM ordered
            WHERE place NOT IN (SELECT place FROM recurring.placed)
        ),
        joining AS (
            SELECT unplaced.place, min(placed.center) AS center
            FROM placed
            JOIN neighbors ON a = placed.place
            JOIN unplaced ON unplaced.place = b
            JOIN ordered AS centers ON centers.place = placed.center
            WHERE images_agree(
                centers.hash, centers.colors, unplaced.hash, unplaced.colors, most_bits * 3 // 2
            )
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
SELECT given.id, centers.id AS cluster,
       bit_count(xor(ordered.hash, centers.hash))::INTEGER AS distance
FROM given
JOIN ordered ON ordered.hash = given.hash AND ordered.colors = given.colors
JOIN placed USING (place)
JOIN ordered AS centers ON centers.place = placed.center;
