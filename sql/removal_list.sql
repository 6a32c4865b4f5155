-- Action for each sample of a flagged caption: dropped, capped, kept by a cap, or
-- marked for recaptioning; samples of other captions are removed with a removed image. Samples not
-- listed are kept. A cap keeps the least memorized samples: those with the lowest clid in
-- sample_scores, else with the largest images in image_clusters, else with the first keys. In
-- `memscan curate`, flagged holds the captions that a policy's rules match;
-- otherwise the top 1 % of the ranking signal, each caption capped at one sample.
--
-- column source: input file
-- column row: row in the file, from 0
-- column key: the sample's key
-- column caption_id: the sample's caption
-- column action: drop or cap (both remove the sample), keep (kept by a cap), recaption
-- column reasons: the rules that match, the deciding one first; same-image: removed with its image;
-- reviewed-…: what people decided about the flagged caption
-- column rule: the deciding rule's number
-- column via: the flagged caption that the image was removed with, if the sample is removed with
-- its image
-- column kept_key: key of the sample that the cap keeps instead (source#row without a key); null for
-- samples that are not capped
-- column cluster: near-duplicate cluster of the flagged caption; null if it has none
-- column probability: probability that the flagged caption is memorized; null without a calibration
-- column signal: the ranking signal
-- column score: its value for the flagged caption
-- column image_key: identifies the image: samples with equal values share one image
WITH trained AS NOT MATERIALIZED (
    -- What the scan kept under a name that the list has itself, or that begins with kept_, becomes
    -- kept_ and that name. is_reference is among them so that one always is; it is left out below.
    SELECT COLUMNS(lambda name: NOT regexp_full_match(
               name,
               '(?i)is_reference|action|reasons|rule|via|cluster|probability|signal|score|policy'
               || '|_flag|_image|_shared|_by|_picture|_group|_of_group|_clid|_pixels|_taken|_place'
               || '|_kept|_via|_kept_of_via|kept_.*'
           )),
           COLUMNS(
               '(?i)^(is_reference|action|reasons|rule|via|cluster|probability|signal|score|policy'
               '|_flag|_image|_shared|_by|_picture|_group|_of_group|_clid|_pixels|_taken|_place'
               '|_kept|_via|_kept_of_via|kept_.*)$'
           ) AS 'kept_\1',
           coalesce(image_key, source || '#' || "row") AS "_picture"
    FROM samples
    WHERE NOT is_reference
),
marked AS (
    SELECT caption_id,
           struct_pack(
               late := action <> 'drop', rule := rule, via := caption_id, action := action,
               keep := keep, unit := unit, cluster := cluster, reasons := reasons,
               probability := probability, signal := signal, score := score
           ) AS "_flag"
    FROM flagged
),
own AS MATERIALIZED (
    SELECT trained.*, "_flag", image_clusters.cluster AS "_group"
    FROM trained JOIN marked USING (caption_id)
    LEFT JOIN image_clusters ON image_clusters.image = "_picture"
),
-- Of several rules for an image a drop wins, then the first rule, then the smallest caption id.
images AS MATERIALIZED (
    SELECT image_key, min("_flag") AS "_image"
    FROM own
    WHERE "_flag".action IN ('drop', 'cap') AND image_key IS NOT NULL
    GROUP BY image_key
),
-- The same for the images of a cluster, if the rule is of image clusters.
image_groups AS MATERIALIZED (
    SELECT "_group", min("_flag") AS "_of_group"
    FROM own
    WHERE "_flag".action IN ('drop', 'cap') AND "_flag".unit = 'image_cluster'
        AND "_group" IS NOT NULL
    GROUP BY "_group"
),
members AS MATERIALIZED (
    SELECT image AS "_picture", "_group", "_of_group"
    FROM image_clusters JOIN image_groups ON cluster = "_group"
),
touched AS (
    SELECT own.*, list_min(["_image", "_of_group"]) AS "_image"
    FROM own LEFT JOIN images USING (image_key) LEFT JOIN image_groups USING ("_group")
    WHERE "_flag".action <> 'keep'
    UNION ALL BY NAME
    SELECT trained.*, "_image"
    FROM trained JOIN images USING (image_key) ANTI JOIN members USING ("_picture")
    ANTI JOIN marked USING (caption_id)
    UNION ALL BY NAME
    SELECT trained.*, "_group", list_min(["_image", "_of_group"]) AS "_image"
    FROM trained JOIN members USING ("_picture") LEFT JOIN images USING (image_key)
    ANTI JOIN marked USING (caption_id)
),
decided AS (
    SELECT *, CASE WHEN "_shared" THEN "_image" ELSE "_flag" END AS "_by"
    FROM (
        SELECT *,
               "_flag" IS NULL
               OR ("_flag".action = 'recaption' AND "_image" IS NOT NULL)
               OR ("_flag".action = 'cap' AND NOT coalesce("_image".late, true)) AS "_shared"
        FROM touched
    )
),
-- "_taken": removed with an image that a cap of captions counts.
compared AS (
    SELECT decided.*, sample_scores.clid AS "_clid",
           image_clusters.width::BIGINT * image_clusters.height AS "_pixels",
           "_shared" AND "_by".unit NOT IN ('image', 'image_cluster') AS "_taken"
    FROM decided
    LEFT JOIN sample_scores
        ON sample_scores.image = "_picture" AND sample_scores.caption_id = decided.caption_id
    LEFT JOIN image_clusters ON image_clusters.image = "_picture"
),
placed AS MATERIALIZED (
    SELECT *, row_number() OVER best_first AS "_place",
           first_value(coalesce(key, source || '#' || "row")) OVER best_first AS "_kept"
    FROM compared
    WINDOW best_first AS (
        PARTITION BY "_by".action, "_taken", "_by".unit,
                     CASE "_by".unit
                          WHEN 'caption' THEN caption_id
                          WHEN 'cluster' THEN coalesce("_by".cluster, caption_id)
                          WHEN 'image' THEN coalesce(image_key, caption_id)
                          ELSE coalesce("_group", image_key, caption_id) END
        ORDER BY "_clid" NULLS LAST, "_pixels" DESC NULLS LAST, key NULLS LAST, source, "row"
    )
),
-- What the caps of captions keep instead of a sample that is removed with an image.
kept AS (
    SELECT caption_id AS "_via", any_value("_kept") AS "_kept_of_via"
    FROM placed WHERE "_by".action = 'cap' AND NOT "_shared" GROUP BY caption_id
)
SELECT source, "row", key, caption_id,
       CASE WHEN "_by".action <> 'cap' THEN "_by".action
            WHEN "_taken" OR "_place" > "_by".keep THEN 'cap'
            ELSE 'keep' END AS action,
       CASE WHEN "_shared" THEN "_by".reasons || ['same-image'] ELSE "_by".reasons END AS reasons,
       "_by".rule AS rule,
       CASE WHEN "_shared" THEN "_by".via END AS via,
       CASE WHEN "_by".action = 'cap' AND "_taken" THEN "_kept_of_via"
            WHEN "_by".action = 'cap' AND "_place" > "_by".keep THEN "_kept" END AS kept_key,
       "_by".cluster AS cluster, "_by".probability AS probability, "_by".signal AS signal,
       "_by".score AS score,
       -- With what the scan kept of the input (the URL, say).
       COLUMNS(lambda name: NOT list_contains(
           ['source', 'row', 'key', 'caption_id', 'kept_is_reference', '_flag', '_image', '_shared',
            '_by', '_picture', '_group', '_clid', '_pixels', '_taken', '_place', '_kept', '_via',
            '_kept_of_via'], lower(name)
       ))
FROM placed LEFT JOIN kept ON "_taken" AND "_by".via = "_via"
ORDER BY source, "row"
