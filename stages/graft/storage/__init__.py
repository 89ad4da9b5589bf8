"""Files written whole: on disk, in S3 and in the feature store; with their hashes, locks and downloads."""
