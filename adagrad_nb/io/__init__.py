"""Readers of svmlight, Vowpal Wabbit and plain text and of tables, hashing of names, and archives of states and models.

Read `readers` first, then `source` (files, pipes and decompression), `lines` (blocks of lines and their errors),
`content` (names of other formats), `svmlight` and its scanner, `vowpal` with `vowpal_rows` and its scanner, `text` and
its scanner, `murmurhash`, `hashed_rows` (interactions and sorting), `hashed_names`, `prefetch` (parsing in a second
thread), `archive`, and `schema` (checks of what archives contain).

Tables: `column_entries` and `columns` (the mapping from columns to features), `column_finder`, `column_encoder` and its
kernel `row_assembly`, `arrow` (conversion of Arrow arrays), `table_reader`, `csv_reader` and `arrow_reader`.
"""
