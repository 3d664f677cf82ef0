"""One file a verb. Each has `VERB`; `linkspan.cli.main` knows them by name and imports the one that was typed."""
