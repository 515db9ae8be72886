"""Reading, indexing and searching of documents."""
