-- Action for each sample of a flagged caption: dropped, capped, kept by a cap, or
-- marked for recaptioning; samples of other captions are removed with a removed image. Samples not
-- listed are kept. In `memscan curate`, flagged holds the captions that a policy's rules match;
-- otherwise the top 1 % of the decision signal, each caption capped at one sample.
--
-- column source: input file
-- column row: row in the file, from 0
-- column key: the sample's key
-- column caption_id: the sample's caption
-- column action: drop or cap (both remove the sample), keep (kept by a cap), recaption
-- column reasons: the rules that match, the deciding one first; same-image: removed with its image
-- column rule: the deciding rule's number
-- column via: the flagged caption that the image was removed with, if the sample is removed with
-- its image
-- column cluster: near-duplicate cluster of the flagged caption; null if it has none
-- column probability: probability that the flagged caption is memorized; null without a calibration
-- column signal: the decision signal
-- column score: its value for the flagged caption
-- column image_key: identifies the image: samples with equal values share one image
WITH trained AS NOT MATERIALIZED (
    -- What the scan kept under a name that the list has itself, or that begins with kept_, becomes
    -- kept_ and that name. is_reference is among them so that one always is; it is left out below.
    SELECT COLUMNS(lambda name: NOT regexp_full_match(
               name,
               '(?i)is_reference|action|reasons|rule|via|cluster|probability|signal|score|policy'
               || '|_flag|_image|_shared|_by|kept_.*'
           )),
           COLUMNS(
               '(?i)^(is_reference|action|reasons|rule|via|cluster|probability|signal|score|policy'
               '|_flag|_image|_shared|_by|kept_.*)$'
           ) AS 'kept_\1'
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
    SELECT trained.*, "_flag"
    FROM trained JOIN marked USING (caption_id)
),
-- Of several rules for an image a drop wins, then the first rule, then the smallest caption id.
images AS MATERIALIZED (
    SELECT image_key, min("_flag") AS "_image"
    FROM own
    WHERE "_flag".action IN ('drop', 'cap') AND image_key IS NOT NULL
    GROUP BY image_key
),
touched AS (
    SELECT own.*, "_image"
    FROM own LEFT JOIN images USING (image_key)
    WHERE "_flag".action <> 'keep'
    UNION ALL BY NAME
    SELECT trained.*, "_image"
    FROM trained JOIN images USING (image_key) ANTI JOIN marked USING (caption_id)
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
)
SELECT source, "row", key, caption_id,
       CASE WHEN "_by".action <> 'cap' THEN "_by".action
            WHEN "_shared" AND "_by".unit <> 'image' THEN 'cap'
            WHEN row_number() OVER (
                PARTITION BY "_by".action, "_shared" AND "_by".unit <> 'image', "_by".unit,
                             CASE "_by".unit
                                  WHEN 'caption' THEN caption_id
                                  WHEN 'cluster' THEN coalesce("_by".cluster, caption_id)
                                  ELSE coalesce(image_key, caption_id) END
                ORDER BY md5(source || ':' || "row"), source, "row"
            ) <= "_by".keep THEN 'keep'
            ELSE 'cap' END AS action,
       CASE WHEN "_shared" THEN "_by".reasons || ['same-image'] ELSE "_by".reasons END AS reasons,
       "_by".rule AS rule,
       CASE WHEN "_shared" THEN "_by".via END AS via,
       "_by".cluster AS cluster, "_by".probability AS probability, "_by".signal AS signal,
       "_by".score AS score,
       -- With what the scan kept of the input (the URL, say).
       COLUMNS(lambda name: NOT list_contains(
           ['source', 'row', 'key', 'caption_id', 'kept_is_reference', '_flag', '_image', '_shared',
            '_by'], lower(name)
       ))
FROM decided
ORDER BY source, "row"
